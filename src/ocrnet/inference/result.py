"""The segmentation of one image: classes, probabilities, images to look at, files."""

from collections.abc import Callable
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ocrnet import visualization
from ocrnet.visualization import write_image


class Result:
    """The segmentation of one image.

    Attributes:
        image: (H, W, 3) uint8 RGB, the image.
        classes: (H, W) uint8 class indices.
        names: class names; `names[index]` is the name of a class index.
        palette: (classes, 3) uint8 RGB, the colour of each class.
        name: file name without suffix; `image` for an array.
    """

    def __init__(
        self,
        image: np.ndarray,
        classes: np.ndarray,
        names: list[str],
        palette: np.ndarray,
        compute_probabilities: Callable[[np.ndarray], np.ndarray],
        name: str = "image",
    ) -> None:
        self.image = image
        self.classes = classes
        self.names = names
        self.palette = palette
        self.name = name
        self._compute_probabilities = compute_probabilities

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(classes, H, W) float32 class probabilities; computed when they are first asked for.

        The class maps are those of the largest logit, without a softmax, so `probabilities.argmax(0)` may differ from
        `classes` in a pixel where two classes are equal to rounding.
        """
        return self._compute_probabilities(self.image)

    @property
    def fractions(self) -> dict[str, float]:
        """{class name: fraction of the pixels}, largest first, of the classes in the image."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.names))
        return {self.names[index]: counts[index] / counts.sum() for index in np.argsort(-counts) if counts[index]}

    def mask(self) -> Image.Image:
        """Returns the classes as a palette image (mode P): its values are class indices, shown in their colours."""
        mask = Image.fromarray(self.classes)
        mask.putpalette(self.palette.tobytes())
        return mask

    def overlay(self, strength: float = 0.5) -> Image.Image:
        """Returns the image blended with the colours of the classes (mode RGB); `strength` is their opacity, 0 to 1."""
        return Image.fromarray(visualization.overlay(self.image, self.classes, self.palette, strength))

    def save(self, folder: str | Path, name: str | Path | None = None, strength: float = 0.5) -> None:
        """Writes the class indices to folder/raw/NAME.png, their colours to mask/NAME.png, the overlay to
        overlay/NAME.jpg.

        Args:
            name: name of the files without suffix; default: `self.name`.
            strength: opacity of the colours on the overlay.

        Raises:
            UserError: a file cannot be written.
        """
        folder, name = Path(folder), self.name if name is None else name
        write_image(folder / "raw" / f"{name}.png", self.classes)
        write_image(folder / "mask" / f"{name}.png", visualization.colour(self.classes, self.palette))
        overlay = visualization.overlay(self.image, self.classes, self.palette, strength)
        write_image(folder / "overlay" / f"{name}.jpg", overlay)

    def _repr_png_(self) -> bytes:
        """The overlay, which Jupyter shows."""
        file = BytesIO()
        self.overlay().save(file, "PNG")
        return file.getvalue()

    def __repr__(self) -> str:
        height, width = self.classes.shape
        largest = ", ".join(f"{name} {part:.0%}" for name, part in list(self.fractions.items())[:3])
        return f"Result({self.name}, {width} x {height}: {largest})"
