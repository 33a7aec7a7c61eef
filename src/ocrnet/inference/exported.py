"""What an exported file computes: logits or classes at the size of the images, as cells and as ONNX models."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ocrnet.config import DataConfig
from ocrnet.data.transforms import rescale_size
from ocrnet.inference.onnx_graph import Port, onnx_model
from ocrnet.inference.opencv_resize import resize_uint8
from ocrnet.models.ocrnet import OCRNet
from ocrnet.models.resize import resize


class Logits(nn.Cell):
    """(N, 3, H, W) float32, normalised, to (N, classes, H, W) float32."""

    def __init__(self, network: OCRNet) -> None:
        super().__init__(auto_prefix=False)
        network.separate_maps = False  # the file may be for any device
        self.network = network
        self.align_corners = network.align_corners

    def construct(self, images: Tensor) -> Tensor:
        main, _ = self.network(images)
        return resize(main, images.shape[2:], "bilinear", self.align_corners)


class Classes(nn.Cell):
    """(N, 3, H, W) float32, normalised, to (N, H, W) uint8."""

    def __init__(self, network: OCRNet) -> None:
        super().__init__(auto_prefix=False)
        self.logits = Logits(network)
        self.argmax = ops.Argmax(axis=1, output_type=ms.int32)

    def construct(self, images: Tensor) -> Tensor:
        return ops.cast(self.argmax(self.logits(images)), ms.uint8)


class Probabilities(nn.Cell):
    """(N, 3, h, w) float32, normalised, and (1, H, W) uint8, of which only the size is used, to the probabilities of
    the classes, (N, classes, H, W) float32.
    """

    def __init__(self, network: OCRNet) -> None:
        super().__init__(auto_prefix=False)
        self.logits = Logits(network)
        self.align_corners = network.align_corners

    def construct(self, images: Tensor, like: Tensor) -> Tensor:
        logits = resize(self.logits(images), like.shape[1:], "bilinear", self.align_corners)
        return ops.softmax(logits, axis=1)


class ClassesOfImage(nn.Cell):
    """(1, H, W, 3) uint8 RGB of any size to (1, H, W) uint8, as `eval.py` predicts it: see `preprocessing.preprocess`.

    Args:
        size: (H, W) of the image; None for any.
    """

    def __init__(self, network: OCRNet, config: DataConfig, size: tuple[int, int] | None = None) -> None:
        super().__init__(auto_prefix=False)
        self.logits = Logits(network)
        self.argmax = ops.Argmax(axis=1, output_type=ms.int32)
        self.align_corners = network.align_corners
        self.box, self.keep_ratio = config.test_size, config.keep_ratio
        if size and self.box:
            self.box, self.keep_ratio = rescale_size(size, self.box, self.keep_ratio), False
        mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (config.mean, config.std))
        self.mean, self.inverse_std = Tensor(mean), Tensor(1 / std)

    def construct(self, image: Tensor) -> Tensor:
        logits = self.logits((self.resized(image) - self.mean) * self.inverse_std)
        if self.box:
            logits = resize(logits, image.shape[1:3], "bilinear", self.align_corners)
        return ops.cast(self.argmax(logits), ms.uint8)

    def resized(self, image: Tensor) -> Tensor:
        """(1, H, W, 3) uint8 to (1, 3, h, w) float32 with values from 0 to 255."""
        if self.box:
            image = resize_uint8(image, self.input_size(image))
        return ops.transpose(image.astype(ms.float32), (0, 3, 1, 2))

    def input_size(self, image: Tensor) -> Tensor:
        """`transforms.rescale_size` with integers: exact, where its float64 rounds a few sizes down."""
        if not self.keep_ratio:
            return Tensor(self.box)
        longer_box, shorter_box = max(self.box), min(self.box)
        size = ops.TensorShape()(image)[1:3]
        longer, shorter = size.max(), size.min()
        by_longer = (2 * size * longer_box + longer) // (2 * longer)
        by_shorter = (2 * size * shorter_box + shorter) // (2 * shorter)
        return ops.maximum(ops.minimum(by_longer, by_shorter), 1)


Shape = tuple[int | None, int | None, int | None]
"""(N, H, W); None for any."""


def logits_model(network: OCRNet, shape: Shape = (None, None, None)):
    """Returns an onnx.ModelProto of `Logits`. BatchNorm must be folded.

    Raises:
        UserError: see `onnx_model`.
    """
    batch, height, width = sides = _named(shape)
    classes = network.ocr_head.classifier.out_channels
    return onnx_model(Logits(network), _images(*sides), Port("logits", (batch, classes, height, width)))


def classes_model(network: OCRNet, shape: Shape = (None, None, None)):
    """Returns an onnx.ModelProto of `Classes`. BatchNorm must be folded.

    Raises:
        UserError: see `onnx_model`.
    """
    sides = _named(shape)
    return onnx_model(Classes(network), _images(*sides), Port("classes", sides))


def probabilities_model(network: OCRNet):
    """Returns an onnx.ModelProto of `Probabilities`. BatchNorm must be folded.

    Raises:
        UserError: see `onnx_model`.
    """
    images, like = _images("batch", "input_height", "input_width"), Tensor(shape=[1, None, None], dtype=ms.uint8)
    classes = network.ocr_head.classifier.out_channels
    target = Port("probabilities", ("batch", classes, "height", "width"))
    return onnx_model(Probabilities(network), {**images, Port("like", (1, "height", "width")): like}, target)


def image_model(network: OCRNet, config: DataConfig, size: tuple[int, int] | None = None):
    """Returns an onnx.ModelProto of `ClassesOfImage`. BatchNorm must be folded.

    Raises:
        UserError: see `onnx_model`.
    """
    height, width = size or ("height", "width")
    sources = {Port("image", (1, height, width, 3)): Tensor(shape=[1, None, None, 3], dtype=ms.uint8)}
    return onnx_model(ClassesOfImage(network, config, size), sources, Port("classes", (1, height, width)))


def _named(shape: Shape) -> tuple[int | str, int | str, int | str]:
    return tuple(side or name for side, name in zip(shape, ("batch", "height", "width"), strict=True))


def _images(batch: int | str, height: int | str, width: int | str) -> dict[Port, Tensor]:
    return {Port("images", (batch, 3, height, width)): Tensor(shape=[None, 3, None, None], dtype=ms.float32)}
