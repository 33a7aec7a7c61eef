"""The network of a checkpoint, and what it gives at the size of the image."""

from pathlib import Path

import mindspore as ms
from mindspore import Tensor, nn, ops

from ocrnet.config import Config
from ocrnet.models.layers import resize
from ocrnet.models.ocrnet import OCRNet
from ocrnet.models.precision import set_precision
from ocrnet.weights.ckpt import load_weights


def load_network(config: Config, path: Path) -> OCRNet:
    """The config's network with the weights of a checkpoint, in the config's precision.

    Raises:
        UserError: the file cannot be read, or is of another network or other classes.
    """
    network = OCRNet(config.model, len(config.data.classes))
    if note := load_weights(network, path, config):
        print(note)
    set_precision(network, config.train.amp)
    return network


class MainLogits(nn.Cell):
    """A network's main logits, resized to (height, width) `size`.

    They go through the size of the images that the network reads, as in mmsegmentation's evaluation: where
    `test_size` enlarged an image this is not the same as going straight to the image's own size.
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
    """The class with the largest logit for each pixel: (N, height, width) int32."""

    def __init__(self, logits: MainLogits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits
        self.argmax = ops.Argmax(axis=1, output_type=ms.int32)

    def construct(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        return self.argmax(self.logits(images, size))
