"""The keys of the configuration: types, defaults and one line of documentation each. `loading.py` reads the YAML.

The keys of `loss`, `optimizer` and `schedule` are in `optimization.py`, those of `device` in `device.py`.

Everything that can be derived (head widths, class count, steps per epoch) is derived, not written in YAML.
"""

# ruff: noqa: RUF012  (pydantic copies default values)
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from ocrnet.config import yaml_syntax
from ocrnet.config.augmentation import AugmentConfig, PhotometricConfig
from ocrnet.config.device import DeviceConfig
from ocrnet.config.optimization import LossConfig, OptimizerConfig, ScheduleConfig
from ocrnet.config.types import (
    Byte,
    Dropout,
    Float,
    Fold,
    Fraction,
    Int,
    KernelSize,
    MindSporeMode,
    NonNegativeFloat,
    NonNegativeInt,
    OpenFraction,
    PositiveFloat,
    PositiveInt,
    PositiveRange,
    Section,
)
from ocrnet.errors import did_you_mean
from ocrnet.formats import label_values
from ocrnet.formats.known import FORMATS, default_values
from ocrnet.formats.label_values import IGNORED, MAX_CLASSES

LabelTarget = Annotated[Byte, BeforeValidator(lambda target: IGNORED if target == "ignore" else target)]
"""What a label value is mapped to: a class index, or 255 or `ignore`."""


DataFormat = Literal[(*FORMATS, "list")]


class DataConfig(Section):
    format: DataFormat = "cityscapes"
    """A public data set in its original layout under root, or list: .lst files with `image label` per line, paths
    relative to root."""
    root: Path = Path("data/cityscapes")
    """Folder of the data set (--data_root)."""
    train: str = "train"
    """Training split: the data set's name of it, or a .lst file under root (list)."""
    val: str = "val"
    """Validation split; written like `train`."""
    test: str = "test"
    """Split without labels; written like `train`. Its list has one image per line."""
    packed: Path | None = None
    """Packed file of scripts/pack_dataset.py with the training pairs, read instead of the files of `train`."""
    held_out_fold: Fold | None = None
    """[fold, folds]: a training leaves out the pairs fold, fold + folds, fold + 2 folds ... of `train`, from 0; null:
    none."""
    classes: list[str] = []
    """Class names, in the order of the class indices. Required for lists, known for public data sets. The same number
    of new names is a translation; another order or number needs `label_map`, and `flip_pairs` if the data set has
    them."""
    palette: list[tuple[Byte, Byte, Byte]] = []
    """One RGB colour per class, for visualization, and for labels with `label_encoding: color`. Generated if empty."""
    label_encoding: Literal["index", "color"] = "index"
    """What label files hold. index: label values, also in palette images; color: the colours of `palette`, exactly, in
    a PNG, BMP or TIFF."""
    ignore_colors: list[tuple[Byte, Byte, Byte]] = []
    """RGB colours of ignored pixels, with `label_encoding: color`."""
    unknown_colors: Literal["error", "nearest", "ignore"] = "error"
    """Pixels of other colours, such as anti-aliased edges, with `label_encoding: color`: an error, the class of the
    nearest colour, or ignored."""
    categories: list[str] = []
    """The category of each class; categories get their own scores. Known for Cityscapes."""
    label_map: dict[Byte, LabelTarget] = {}
    """{value in the label files: class index, or 255 or `ignore` for ignored pixels}. Empty: the values are the class
    indices."""
    flip_pairs: list[tuple[Byte, Byte]] = []
    """Pairs of class indices to swap when an image is flipped, such as left and right arm."""
    ignore_index: Byte | None = IGNORED
    """Label value of ignored pixels; null: only the values that `label_map` maps to 255 are ignored."""
    mean: tuple[Float, Float, Float] = (123.675, 116.28, 103.53)
    """RGB mean, in grey levels."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (58.395, 57.12, 57.375)
    """RGB standard deviation, in grey levels."""
    base_size: tuple[PositiveInt, PositiveInt] | None = None
    """(height, width) that a training image is resized to fit into before the random ratio; null: the image's size."""
    keep_ratio: bool = True
    """Keep the aspect ratio when resizing to `base_size` or `test_size`; False: resize to exactly this size (LIP)."""
    scale_range: PositiveRange = (0.5, 2.0)
    """Random resize ratio in training."""
    crop_size: tuple[PositiveInt, PositiveInt] = (512, 1024)
    """(height, width) of training crops."""
    cat_max_ratio: Fraction = 0.75
    """Maximum share of one class in a crop; up to 10 more crops are drawn to satisfy it. 1: no limit."""
    rare_classes: list[str] = []
    """Names of thin or rare classes. With probability `rare_crop`, a crop contains a random pixel of them, if any."""
    rare_crop: Fraction = 0.5
    """Probability that a crop is chosen by `rare_classes`."""
    balanced_crop: Fraction = 0.0
    """Probability that a crop contains a random pixel of a class that is drawn uniformly from the image's classes, each
    as likely as the others. It is drawn after `rare_crop`."""
    pad: Literal["mean", "black"] = "mean"
    """Padding colour at the right and bottom, for images smaller than the crop."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip in training."""
    photometric: PhotometricConfig | None = PhotometricConfig()
    """Photometric distortion in training; null: none."""
    augment: AugmentConfig = AugmentConfig()
    test_size: tuple[PositiveInt, PositiveInt] | None = None
    """(height, width) that images are resized to fit into for evaluation; null: their own size."""
    on_bad_sample: Literal["stop", "skip"] = "stop"
    """If a training pair cannot be read: stop the run, or skip it and use the next pair instead."""
    workers: NonNegativeInt = 0
    """Data threads, at most the number of CPU cores; 0: half of the cores, at most 8."""
    prefetch_size: PositiveInt = 4
    """Batches prepared ahead. Each takes batch_size x (3 x 4 + 4) bytes per pixel."""

    @field_validator("label_map", mode="wrap")
    @classmethod
    def _no_value_twice(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> dict[int, int]:
        label_map = validate(value)
        if len(label_map) < len(value):  # such as 1 and "1"
            values = [int(float(key)) for key in value]
            twice = next(key for key in values if values.count(key) > 1)
            raise PydanticCustomError("given_twice", f"label value {twice} is given twice")
        return label_map

    @model_validator(mode="after")
    def _resolve_classes(self) -> "DataConfig":
        if self.format in FORMATS:
            self._derive(**default_values(self.format, {key: getattr(self, key) for key in self.model_fields_set}))
        count = len(self.classes)
        if not count:
            raise ValueError("classes: name the classes in the order of the label values, e.g. [road, car]")
        if count > MAX_CLASSES:
            raise ValueError(f"classes: {count} classes; at most {MAX_CLASSES}, labels have one byte per pixel")
        if twice := [name for name in self.classes if self.classes.count(name) > 1]:
            raise ValueError(f"classes: {twice[0]!r} is given twice")
        for key in ("palette", "categories"):
            if (found := len(getattr(self, key))) not in (0, count):
                raise ValueError(f"{key}: {found} {'colours' if key == 'palette' else key} for {count} classes")
        if wrong := [pair for pair in self.flip_pairs if max(pair) >= count]:
            raise ValueError(f"flip_pairs: {wrong}: class indices must be 0 to {count - 1}")
        swapped = [index for pair in self.flip_pairs for index in pair]
        if twice := [index for index in swapped if swapped.count(index) > 1]:
            raise ValueError(f"flip_pairs: class {twice[0]} is given twice; a class is swapped with one other class")
        if wrong := [name for name in self.rare_classes if name not in self.classes]:
            raise ValueError(f"rare_classes: {wrong[0]!r} is not a class.{did_you_mean(wrong[0], self.classes)}")
        if self.label_encoding == "index":
            self._derive(label_map=label_values.resolve(self.label_map, self.ignore_index, self.classes))
        else:
            label_values.check_colours(self.palette, self.ignore_colors, self.classes)
        return self


Backbone = Literal[
    "hrnet_tiny",
    "hrnet_w18_small",
    "hrnet_w18",
    "hrnet_w32",
    "hrnet_w48",
    "hrnet_w64",
    "resnet50_d8",
    "resnet101_d8",
    "resnet50_v1c_d8",
    "resnet101_v1c_d8",
]


def _none_is_null(value: Any) -> Any:
    return None if value == "none" else value


class ModelConfig(Section):
    backbone: Backbone = "hrnet_w18_small"
    """Backbone network."""
    pretrained: Annotated[Literal["published"] | Path | None, BeforeValidator(_none_is_null)] = None
    """ImageNet weights of the backbone: published (fetched once), a name of zoo/backbones.yml, a checkpoint from mindcv
    or scripts/convert_weights.py --backbone, or none (random weights). The heads are initialized randomly."""
    checkpoint: Path | None = None
    """Checkpoint of a whole network to fine-tune: of a run, or from convert_weights.py. Classifiers of other classes
    are initialized randomly."""
    freeze: Literal["none", "backbone"] = "none"
    """What is not trained: nothing, or the backbone with its BatchNorm statistics."""
    freeze_norm: bool = False
    """BatchNorm uses its stored statistics in training too, for small batches; gamma and beta are still trained."""
    fuse: Literal["bilinear", "bilinear_once", "nearest"] = "bilinear"
    """Upsampling in HRNet's fuse step: bilinear as published, or nearest as in mindspore-lab. Bilinear upsamples by 2,
    4 or 8, then resizes to the branch's size (mmsegmentation, sssegmentation); bilinear_once (PaddleSeg), or bilinear
    with align_corners (HRNet-OCR), resizes in one step. These differ only if a side of the image is not a multiple of
    32."""
    stride_padding: Literal["symmetric", "same"] = "symmetric"
    """Padding of HRNet's 3x3 convolutions with stride 2: one row and column on each side, or same (PaddleSeg): an even
    side is padded at the bottom and right only."""
    align_corners: bool = False
    """align_corners of every bilinear resize: False for mmsegmentation, sssegmentation and PaddleSeg, True for
    HRNet-OCR."""
    stem_relu: bool = True
    """ReLU between the two convolutions of HRNet's stem. False for HRNet weights of sssegmentation before version 1.7.0
    (June 2025), which had no ReLU there."""
    head_channels: PositiveInt = 512
    """Width of the pixel features."""
    key_channels: PositiveInt = 256
    """Width of the pixel-region attention."""
    context_channels: PositiveInt = 512
    """Width after pixel features and object context are joined: 512 published, 256 mindspore-lab."""
    context_kernel: KernelSize = 1
    """Kernel size of that joining convolution: 1 mmsegmentation, 3 mindspore-lab and sssegmentation."""
    aux_channels: PositiveInt | None = None
    """Width of the auxiliary head; null: the width of its input features."""
    aux_kernel: KernelSize = 1
    """Kernel size of the auxiliary head."""
    conv_bias: bool = False
    """Whether the first convolution of both heads has a bias (HRNet-OCR, PaddleSeg)."""
    attention_bias: bool = False
    """Whether the convolutions of the pixel-region attention, and the one after it, have a bias (PaddleSeg)."""
    head_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the heads' BatchNorm: 1e-5, mindspore-lab 1e-4."""
    dropout: Dropout = 0.0
    """Dropout2d before the main classifier."""
    aux_dropout: Dropout = 0.0
    """Dropout2d before the auxiliary classifier (mmsegmentation's ResNet configs have both)."""


class LossScaleConfig(Section):
    kind: Literal["static", "dynamic", "none"] | None = None
    """null: dynamic with `train.amp` in float16, otherwise none."""
    value: Annotated[Float, Field(ge=1)] = 256.0
    """The static scale, or the initial value of the dynamic scale."""
    factor: Annotated[Int, Field(gt=1)] = 2
    """The dynamic scale is divided by it after an overflow, and multiplied by it after `window` steps without one."""
    window: PositiveInt = 2000
    """Dynamic: consecutive steps without overflow before the scale grows."""


class TrainConfig(Section):
    batch_size: PositiveInt = 2
    """Images per device and batch."""
    accumulate_steps: PositiveInt = 1
    """Gradient accumulation: batches per step, with one update by their mean gradient. BatchNorm sees one batch at a
    time."""
    total_step: PositiveInt | None = None
    """Steps of the whole run; null: given by `epochs`, or 40000. Of the two keys, the one set later is used."""
    epochs: PositiveInt | None = None
    """Epochs; the incomplete last batch (of all devices) is dropped in each."""
    amp: Literal["none", "convolutions", "all"] = "none"
    """Automatic mixed precision. none: float32; convolutions: convolutions in `amp_dtype` (like MindSpore's O1); all:
    everything but BatchNorm and the loss in `amp_dtype` (like MindSpore's O2)."""
    amp_dtype: Literal["float16", "bfloat16"] = "float16"
    """Type of mixed precision. bfloat16 has the range of float32 and needs no loss scale; Ascend A2 and later have
    it."""
    loss_scale: LossScaleConfig = LossScaleConfig()
    sync_batch_norm: bool = True
    """In distributed training, compute BatchNorm statistics over the batch of all devices."""
    sync_batch_norm_operator: Literal["mindspore", "collectives"] = "mindspore"
    """On Ascend, what computes them: MindSpore's operator, with four collectives per layer, or standard operators with
    two collectives per layer. GPU and CPU always use the latter."""
    clip_grad: NonNegativeFloat = 0.0
    """Maximum global norm of the gradients; 0: no clipping."""
    ema: OpenFraction | None = None
    """Decay of an exponential moving average (EMA) of the weights, such as 0.9998; evaluation and checkpoints use the
    average. null: none."""
    patience: PositiveInt | None = None
    """Early stopping: training ends after this many evaluations in a row without a better score (`eval.best_by`). null:
    off."""
    overflow_limit: PositiveInt = 50
    """Training stops after this many consecutive steps with an overflow."""
    log_interval: PositiveInt = 50
    """Steps between lines in the log and TensorBoard."""

    @model_validator(mode="after")
    def _choose_length(self) -> "TrainConfig":
        if self.total_step and self.epochs:
            raise ValueError(f"total_step, epochs: {self.total_step} steps or {self.epochs} epochs? Keep one.")
        if not self.epochs:
            self._derive(total_step=self.total_step or 40000)
        return self

    @model_validator(mode="after")
    def _choose_loss_scale(self) -> "TrainConfig":
        if self.loss_scale.kind is None:
            scaled = self.amp != "none" and self.amp_dtype == "float16"
            self._derive(loss_scale=self.loss_scale.replace({"kind": "dynamic" if scaled else "none"}))
        return self

    @property
    def images_per_step(self) -> int:
        """Images per step and device."""
        return self.batch_size * self.accumulate_steps

    @field_validator("clip_grad", mode="before")
    @classmethod
    def _clip_to_one(cls, value: Any) -> Any:
        return float(value) if isinstance(value, bool) else value  # True means a norm of 1


class EvalConfig(Section):
    run_eval: bool = True
    """Evaluate during training, every `interval` steps and at the end."""
    interval: PositiveInt = 4000
    """Steps between evaluations during training."""
    images: PositiveInt | None = None
    """Number of images that an evaluation during training uses, evenly spaced over the split and always the same; null:
    all. `eval.py` uses all."""
    best_by: Literal["miou", "pixel_accuracy", "loss"] = "miou"
    """Score that decides which checkpoint is `best` and that `train.patience` waits for."""
    batch_size: PositiveInt = 1
    """Images of the same size per batch."""
    multi_scale: bool = False
    """Multi-scale evaluation: average the softmax over `ratios` (--multi_scale)."""
    ratios: Annotated[list[PositiveFloat], Field(min_length=1)] = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    """Ratios to the image's size (or `test_size`) with `multi_scale`."""
    flip: bool | None = None
    """Also average over the horizontally flipped image; null: with `multi_scale` only, as published."""
    window: tuple[PositiveInt, PositiveInt] | None = None
    """(height, width) of the sliding window; null: the whole image at once."""
    stride: tuple[PositiveInt, PositiveInt] | None = None
    """(vertical, horizontal) stride of the sliding window; null: two thirds of the window."""
    boundary: NonNegativeInt = 0
    """Width of the trimap: also score the pixels within this distance of another class; 0: off."""
    visualized_images: NonNegativeInt = 8
    """Number of images that --visualize True writes, and of best and worst images in a report."""
    tensorboard_images: NonNegativeInt = 3
    """Number of images that each evaluation during training writes to TensorBoard."""

    @property
    def mirrors(self) -> bool:
        """Whether the flipped image is evaluated too."""
        return self.multi_scale if self.flip is None else self.flip

    @model_validator(mode="after")
    def _derive_stride(self) -> "EvalConfig":
        if self.stride and not self.window:
            raise ValueError(f"stride: {list(self.stride)} needs a sliding window; set eval.window too")
        if self.window and not self.stride:
            self._derive(stride=tuple(max(1, round(side * 2 / 3)) for side in self.window))
        if self.window and any(step > side for step, side in zip(self.stride, self.window, strict=True)):
            raise ValueError(f"stride: {list(self.stride)} leaves gaps between windows of {list(self.window)}")
        return self


class CheckpointConfig(Section):
    interval: PositiveInt = 4000
    """Steps between numbered checkpoints."""
    keep: PositiveInt = 5
    """Number of numbered checkpoints to keep, besides `latest` and `best`. With 2 or more there is a fallback."""


class Config(Section):
    device_target: Literal["Ascend", "GPU", "CPU"] | None = None
    """null: auto-detected, Ascend before GPU before CPU."""
    ms_mode: MindSporeMode = 0
    """0: graph mode, 1: PyNative mode."""
    seed: NonNegativeInt = 1234
    """Seed of the weights, the order of the images and the augmentation."""
    save_dir: Path = Path("runs")
    """Folder for everything that a run writes; default: runs/NAME_OF_CONFIG."""
    device: DeviceConfig = DeviceConfig()
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @model_validator(mode="after")
    def _check_combinations(self) -> "Config":
        weights, classes = len(self.loss.class_weights), len(self.data.classes)
        if weights not in (0, classes):
            raise ValueError(f"loss.class_weights: {weights} weights for {classes} classes")
        if weights and not any(self.loss.class_weights):
            raise ValueError("loss.class_weights: all are 0, so nothing is learned; [] sets all to 1")
        if self.model.pretrained not in (None, "published") and self.model.checkpoint:
            raise ValueError(
                "model.pretrained, model.checkpoint: the checkpoint contains a backbone. Keep one of them."
            )
        return self

    @classmethod
    def field(cls, key: str) -> FieldInfo | None:
        """Returns the schema of a dotted key, or None if there is no such key."""
        *path, name = key.split(".")
        section = cls.subsection(tuple(path))
        return section.model_fields.get(name) if section else None

    def to_yaml(self) -> str:
        """Returns the whole resolved config as YAML that `load_config` can read."""
        tree = self.model_dump(mode="json")
        tree["data"]["label_map"] = dict(self.data.label_map)  # JSON would make the numbers strings
        return yaml_syntax.dump(tree, default_flow_style=None, width=120)
