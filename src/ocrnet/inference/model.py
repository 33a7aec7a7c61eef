"""A trained network that segments images: used by `ocrnet.load`, eval.py and scripts/predict.py."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from mindspore import Tensor
from PIL import Image

from ocrnet.config import Config
from ocrnet.data.datasets import palette
from ocrnet.data.images import ImageFile, from_pillow
from ocrnet.errors import UserError
from ocrnet.inference import media
from ocrnet.inference.engines import make_engine
from ocrnet.inference.network import load_network
from ocrnet.inference.predictor import Predictor
from ocrnet.inference.result import Result
from ocrnet.runtime import device
from ocrnet.weights.ckpt import DamagedCheckpoint
from ocrnet.zoo.cached_weights import cache_folder

ImageLike = str | PathLike[str] | np.ndarray | Image.Image
"""An image: a file, (H, W, 3) uint8 RGB, or a Pillow image."""

ImageKind = TypeVar("ImageKind", bound=ImageLike)
"""The kind of the images of a list: a list[str] is no list[ImageLike] for a type checker."""


class Model:
    """A trained network that segments images.

    Attributes:
        config: its configuration.
        network: the `OCRNet` cell. It maps normalised images (N, 3, H, W) float32 to (main logits, auxiliary logits),
            each (N, classes, H/4, W/4); H/8 and W/8 for ResNet.
        names: class names.
        palette: (classes, 3) uint8 RGB.
        predictor: predicts class maps as `config.eval` says.

    Args:
        config: see above; `config.train.amp` is the precision of MindSpore's engine.
        checkpoint: a .ckpt file with weights of the config's network.
        engine: see `ocrnet.load`.
        precision: see `ocrnet.load`.
        compile_first: in graph mode, compile the first image size immediately; False for a few images of any size.
        stored: the content of the checkpoint, if it was already read.

    Raises:
        UserError: the checkpoint cannot be read or has another network, or the engine is not available.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: Path,
        engine: str = "mindspore",
        precision: str = "fp32",
        compile_first: bool = False,
        stored: dict | None = None,
    ) -> None:
        self.config = config
        self.checkpoint = checkpoint
        try:
            self.network = load_network(config, checkpoint, stored).set_train(False)
        except DamagedCheckpoint as error:
            if checkpoint.parent != cache_folder():
                raise
            raise UserError(f"{error}. Delete this file: it will be fetched again.") from None
        self.names = list(config.data.classes)
        self.palette = palette(config.data)
        self.predictor = Predictor(
            self.network, config, compile_first, make_engine(engine, precision, self.network, config)
        )

    @overload
    def predict(self, images: ImageLike) -> Result: ...

    @overload
    def predict(self, images: list[ImageKind]) -> list[Result]: ...

    @overload
    def predict(self, images: Iterator[ImageLike] | media.Video) -> Iterator[Result]: ...

    def predict(
        self, images: ImageLike | list[ImageKind] | Iterator[ImageLike] | media.Video
    ) -> Result | list[Result] | Iterator[Result]:
        """Segments images of any size.

        Args:
            images: an image: the path of a file, an array (H, W, 3) uint8 RGB, or a Pillow image; a list of images; or
                an iterator over images, such as `ocrnet.open_video(path)`.

        Returns:
            a Result; a list of them; or an iterator, which segments an image when it is asked for the next result.

        Raises:
            UserError: a file cannot be read, an array has another shape or type, or the image does not fit into memory.

        Example:
            >>> result = model.predict(photo)
            >>> result.classes.shape == result.image.shape[:2]
            True
        """
        if isinstance(images, list):
            return [self._predict(image) for image in images]
        if isinstance(images, str | PathLike | np.ndarray | Image.Image):
            return self._predict(images)
        if isinstance(images, media.Video):
            return self._predict_video(images)
        if isinstance(images, Iterable):
            return map(self._predict, images)
        raise UserError(f"predict: expected an image, a list or an iterator of images, got {type(images).__name__}")

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Returns (classes, H, W) float32 class probabilities of an image (H, W, 3) uint8 RGB."""
        with device.execution_mode(self.config.ms_mode):
            probabilities = self.predictor.probabilities([image])
        return (probabilities.asnumpy() if isinstance(probabilities, Tensor) else probabilities)[0]

    def _predict_video(self, video: media.Video) -> Iterator[Result]:
        for number, frame in enumerate(video):
            if number == 0:
                height, width = frame.shape[:2]
                self.predictor.check_memory(video.path, (height, width))
            yield self._segment(frame, f"{video.path.stem}_{number:06}")

    def _predict(self, image: ImageLike) -> Result:
        return self._segment(*self._read(image))

    def _segment(self, pixels: np.ndarray, name: str) -> Result:
        with device.execution_mode(self.config.ms_mode):
            classes = self.predictor([pixels])[0]
        return Result(pixels, classes, self.names, self.palette, self.probabilities, name)

    def _read(self, image: ImageLike) -> tuple[np.ndarray, str]:
        """Returns the pixels (H, W, 3) uint8 RGB of an image, and its name."""
        if isinstance(image, str | PathLike):
            path = Path(image)
            file = ImageFile(path)
            self.predictor.check_memory(path, file.shape[:2])
            return file[:, :], path.stem
        if isinstance(image, Image.Image):
            path = Path(getattr(image, "filename", "") or "image")
            pixels = from_pillow(path, image)
        elif isinstance(image, np.ndarray):
            path, pixels = Path("image"), image
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise UserError(f"an image array must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        else:
            raise UserError(f"expected a path, an array or a Pillow image, got {type(image).__name__}")
        height, width = pixels.shape[:2]
        self.predictor.check_memory(path, (height, width))
        return pixels, path.stem

    def __repr__(self) -> str:
        size = f"{len(self.names)} classes"
        return f"Model({self.config.model.backbone}, {size}, {self.checkpoint})"
