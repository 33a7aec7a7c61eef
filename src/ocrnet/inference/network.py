"""Loads a network from a checkpoint; cells that output logits and classes at the size of the image."""

from pathlib import Path

import mindspore as ms
from mindspore import Tensor, nn, ops

from ocrnet.config import Config
from ocrnet.models.layers import resize
from ocrnet.models.ocrnet import OCRNet
from ocrnet.models.precision import set_precision
from ocrnet.weights.ckpt import load_weights


def load_network(config: Config, path: Path, stored: dict | None = None) -> OCRNet:
    """Create the network of a config, load the weights of a checkpoint and set the config's precision.

    Args:
        stored: the content of the checkpoint, if it was already read.

    Raises:
        UserError: the file cannot be read, or has another network or other classes; or the device has no bfloat16.
    """
    network = OCRNet(config.model, len(config.data.classes))
    if note := load_weights(network, path, config, stored):
        print(note)
    set_precision(network, config.train)
    return network


class MainLogits(nn.Cell):
    """Main logits of a network, resized to (height, width) `size`.

    They are first resized to the network's input size, as in mmsegmentation's evaluation. If `test_size` has resized
    an image, this differs from resizing directly to the original size.
    """

    def __init__(self, network: nn.Cell, align_corners: bool) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.align_corners = align_corners

    def construct(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        main, _ = self.network(images)
        main = resize(main, images.shape[2:], "bilinear", self.align_corners)
        return resize(main, size, "bilinear", self.align_corners)


class Classes(nn.Cell):
    """The class with the largest logit for each pixel: (N, height, width) uint8, so that little leaves the device."""

    def __init__(self, logits: MainLogits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits
        self.argmax = ops.Argmax(axis=1, output_type=ms.int32)

    def construct(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        return ops.cast(self.argmax(self.logits(images, size)), ms.uint8)
