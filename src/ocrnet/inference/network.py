"""Loads a network from a checkpoint; cells that output logits and classes at the size of the image."""

from pathlib import Path

import mindspore as ms
from mindspore import Tensor, nn, ops

from ocrnet.config import Config
from ocrnet.formats.label_values import IGNORED
from ocrnet.models.ocrnet import OCRNet
from ocrnet.models.precision import set_precision
from ocrnet.models.resize import resize
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

    Args:
        in_graph: see `resize`; not for exported files, which keep MindSpore's operator.
    """

    def __init__(self, network: nn.Cell, align_corners: bool, in_graph: bool = False) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.align_corners = align_corners
        self.in_graph = in_graph

    def construct(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        main, _ = self.network(images)
        return resize(main, size, "bilinear", self.align_corners, through=images.shape[2:], in_graph=self.in_graph)


class Logits(nn.Cell):
    """(N, 3, h, w) images and a tensor (1, H, W), of which only the size is used, to (N, classes, H, W) logits."""

    def __init__(self, logits: MainLogits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits

    def construct(self, images: Tensor, like: Tensor) -> Tensor:
        return self.logits(images, like.shape[1:])


class Classes(nn.Cell):
    """The class with the largest logit for each pixel: (N, H, W) uint8, so that little leaves the device.

    Inputs as in `Logits`.
    """

    def __init__(self, logits: MainLogits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits
        self.argmax = ops.Argmax(axis=1, output_type=ms.int32)

    def construct(self, images: Tensor, like: Tensor) -> Tensor:
        return ops.cast(self.argmax(self.logits(images, like.shape[1:])), ms.uint8)


class ClassesAndLoss(nn.Cell):
    """(N, 3, h, w) images and (N, H, W) int32 labels to `Classes` and the cross entropy.

    The cross entropy is summed over each row of pixels, (N, H) float32, without ignored pixels: a float32 sum over an
    image would have rounding errors.
    """

    def __init__(self, logits: MainLogits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits
        self.argmax = ops.Argmax(axis=1, output_type=ms.int32)

    def construct(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.logits(images, labels.shape[1:])
        valid = labels != IGNORED
        index = ops.where(valid, labels, 0).astype(ms.int32).expand_dims(1)
        log_probabilities = ops.gather_elements(ops.log_softmax(logits, axis=1), 1, index).squeeze(1)
        loss = -(log_probabilities * valid.astype(ms.float32)).sum(axis=2)
        return ops.cast(self.argmax(logits), ms.uint8), loss


class AddProbabilities(nn.Cell):
    """Adds the class probabilities of images (N, 3, h, w) to `total`, (N, classes, H, W) float32."""

    def __init__(self, logits: MainLogits) -> None:
        super().__init__(auto_prefix=False)
        self.logits = logits

    def construct(self, images: Tensor, total: Tensor) -> Tensor:
        return total + ops.softmax(self.logits(images, total.shape[2:]), axis=1)
