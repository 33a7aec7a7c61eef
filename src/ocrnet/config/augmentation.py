"""The sections of the configuration for augmentation: photometric distortion, and what is off by default."""

from typing import Annotated

from pydantic import Field

from ocrnet.config.types import (
    Float,
    Fraction,
    Int,
    NonNegativeFloat,
    PositiveFraction,
    PositiveFractionRange,
    PositiveIntRange,
    PositiveRange,
    QualityRange,
    Range,
    Section,
)


class PhotometricConfig(Section):
    """Photometric distortion of 8-bit RGB images; each change is applied with `probability`."""

    probability: Fraction = 0.5
    """Probability of each change, independent of the others."""
    brightness: NonNegativeFloat = 32
    """Maximum shift, in grey levels."""
    contrast: Range = (0.5, 1.5)
    """Range of the factor."""
    saturation: Range = (0.5, 1.5)
    """Range of the factor."""
    hue: Annotated[Int, Field(ge=0, le=90)] = 18
    """Maximum shift, in OpenCV's units of 2 degrees."""


class RotationConfig(Section):
    """Rotation about the image's centre (mmsegmentation: RandomRotate, torchvision: RandomRotation)."""

    probability: PositiveFraction = 0.5
    """Probability of a rotation."""
    degrees: Annotated[Float, Field(gt=0, le=180)] = 10.0
    """Maximum angle: it is drawn uniformly from -degrees to degrees."""


class ShiftScaleConfig(Section):
    """Shift and scale in addition to the random resize (albumentations: ShiftScaleRotate)."""

    probability: PositiveFraction = 0.5
    """Probability of a shift and scale."""
    shift: Fraction = 0.0625
    """Maximum shift in each direction, as a share of the image's width and height."""
    scale: PositiveRange = (0.9, 1.1)
    """Range of the factor, about the image's centre."""


class BlurConfig(Section):
    """Gaussian blur (torchvision: GaussianBlur)."""

    probability: PositiveFraction = 0.5
    """Probability of a blur."""
    sigma: PositiveRange = (0.1, 2.0)
    """Range of the standard deviation, in pixels."""


class NoiseConfig(Section):
    """Gaussian noise, independent in each pixel and channel (albumentations: GaussNoise)."""

    probability: PositiveFraction = 0.5
    """Probability of noise."""
    std: PositiveRange = (2.0, 10.0)
    """Range of the standard deviation, in grey levels."""


class JPEGConfig(Section):
    """JPEG artefacts (albumentations: ImageCompression)."""

    probability: PositiveFraction = 0.5
    """Probability of a compression."""
    quality: QualityRange = (30, 95)
    """Range of the JPEG quality."""


class CutoutConfig(Section):
    """Rectangles without image (mmsegmentation: RandomCutOut, albumentations: CoarseDropout)."""

    probability: PositiveFraction = 0.5
    """Probability of a cutout."""
    holes: PositiveIntRange = (1, 3)
    """Range of the number of rectangles."""
    size: PositiveFractionRange = (0.1, 0.25)
    """Range of their height and width, as a share of the crop's."""
    ignore_label: bool = False
    """Ignore the label there; false keeps it, as mmsegmentation and albumentations do by default."""


class AugmentConfig(Section):
    """Augmentation beyond the published recipes. All of it is off by default."""

    vertical_flip: Fraction = 0.0
    """Probability of a vertical flip. It is a mirror image as well, so `data.flip_pairs` are swapped."""
    rotate90: Fraction = 0.0
    """Probability of a rotation by 90, 180 or 270 degrees, which is exact."""
    rotation: RotationConfig | None = None
    """Rotation by any angle; null: none."""
    shift_scale: ShiftScaleConfig | None = None
    """Shift and scale in addition to `data.scale_range`; null: none."""
    blur: BlurConfig | None = None
    """Gaussian blur; null: none."""
    noise: NoiseConfig | None = None
    """Gaussian noise; null: none."""
    jpeg: JPEGConfig | None = None
    """JPEG artefacts; null: none."""
    cutout: CutoutConfig | None = None
    """Rectangles filled with the colour of `data.pad`; null: none."""
