"""The keys of the configuration: types, defaults and one line of documentation each. `configs.py` reads the YAML.

Everything that can be derived (head widths, class count, steps per epoch) is derived, not written in YAML.
"""

# ruff: noqa: RUF012  (pydantic copies default values)
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from ocrnet.config import yaml_syntax
from ocrnet.config.types import (
    Byte,
    Dropout,
    Float,
    Fraction,
    Int,
    Kernel,
    Mode,
    Natural,
    NonNegative,
    Positive,
    PositiveFloat,
    PositiveRange,
    Range,
    Section,
)
from ocrnet.errors import did_you_mean
from ocrnet.formats import label_values
from ocrnet.formats.known import FORMATS, fill_in
from ocrnet.formats.label_values import IGNORED, MAX_CLASSES

Target = Annotated[Byte, BeforeValidator(lambda target: IGNORED if target == "ignore" else target)]
"""What a value of a label file stands for: a class index, or 255 or ignore."""


class PhotometricConfig(Section):
    """Photometric distortion; each change happens with `probability`, on 8-bit RGB."""

    probability: Fraction = 0.5
    brightness: NonNegative = 32
    """Largest shift, grey levels."""
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.5, 1.5)
    hue: Annotated[Int, Field(ge=0, le=90)] = 18
    """Largest shift, in OpenCV's half degrees."""


DataFormat = Literal[(*FORMATS, "list")]


class DataConfig(Section):
    format: DataFormat = "cityscapes"
    """A data set as its owners lay it out under root, or list: .lst files, `image label` a line, paths under root."""
    root: Path = Path("data/cityscapes")
    """Folder of the data set (--dataset_dir)."""
    train: str = "train"
    """Training split: the owners' name of it, or a .lst file under root (list)."""
    val: str = "val"
    """Validation split, likewise."""
    test: str = "test"
    """Split without labels, likewise; its list has the image alone on a line."""
    packed: Path | None = None
    """Training pairs as scripts/pack_dataset.py wrote them, read in place of the files of `train`."""
    classes: list[str] = []
    """Class names, in the order of the class indices. Required for lists, known for the rest: as many other names are a
    translation of those; another order or number needs `label_map`, and `flip_pairs` where the data set has some."""
    palette: list[tuple[Byte, Byte, Byte]] = []
    """One RGB colour a class, for images. Made up when left out."""
    categories: list[str] = []
    """The group that each class belongs to: groups get a score of their own. Known for Cityscapes."""
    label_map: dict[Byte, Target] = {}
    """{value in the label files: class index, or 255 or ignore for ignored pixels}. Empty: the values are the class
    indices."""
    flip_pairs: list[tuple[Byte, Byte]] = []
    """Classes that change places when an image is mirrored, such as left and right arm."""
    ignore_index: Byte | None = IGNORED
    """Value in the label files of pixels that belong to no class; null: no value but those that `label_map` names."""
    mean: tuple[Float, Float, Float] = (123.675, 116.28, 103.53)
    """RGB mean, grey levels."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (58.395, 57.12, 57.375)
    base_size: tuple[Positive, Positive] | None = None
    """(height, width) that a training image is fitted into before the random ratio; null: the image's own size."""
    keep_ratio: bool = True
    """Images keep their shape in `base_size` and `test_size`; False stretches them (LIP)."""
    scale_range: PositiveRange = (0.5, 2.0)
    """Random resize ratio in training."""
    crop_size: tuple[Positive, Positive] = (512, 1024)
    """(height, width) of training crops."""
    cat_max_ratio: Fraction = 0.75
    """No class may cover more of a crop than this, if 10 more tries find such a crop; 1: any crop will do."""
    rare_classes: list[str] = []
    """Names of thin or rare classes; a crop is laid around a pixel of theirs, where there is one, with `rare_crop`."""
    rare_crop: Fraction = 0.5
    """Probability of such a crop."""
    pad: Literal["mean", "black"] = "mean"
    """Colour of what a crop lacks at the right and bottom, where an image is smaller."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip in training."""
    photometric: PhotometricConfig | None = PhotometricConfig()
    """Colour changes in training; null for none."""
    test_size: tuple[Positive, Positive] | None = None
    """(height, width) that images are fitted into for evaluation; null: their own size."""
    on_bad_sample: Literal["stop", "skip"] = "stop"
    """A training pair that cannot be read stops the run, or its neighbour takes its place."""
    workers: Natural = 0
    """Data threads, at most the machine's cores; 0: half of them, 8 at most."""
    prefetch_size: Positive = 4
    """Batches prepared ahead. Each holds batch_size x (3 x 4 + 4) bytes a pixel."""

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
            self._derive(**fill_in(self.format, {key: getattr(self, key) for key in self.model_fields_set}))
        count = len(self.classes)
        if not count:
            raise ValueError("classes: name the classes in the order of the label values, e.g. [road, car]")
        if count > MAX_CLASSES:
            raise ValueError(f"classes: {count} classes; at most {MAX_CLASSES}, labels have one byte a pixel")
        if twice := [name for name in self.classes if self.classes.count(name) > 1]:
            raise ValueError(f"classes: {twice[0]!r} is given twice")
        for key in ("palette", "categories"):
            if (found := len(getattr(self, key))) not in (0, count):
                raise ValueError(f"{key}: {found} {'colours' if key == 'palette' else key} for {count} classes")
        if wrong := [pair for pair in self.flip_pairs if max(pair) >= count]:
            raise ValueError(f"flip_pairs: {wrong} names more than the {count} classes, 0 is the first")
        swapped = [index for pair in self.flip_pairs for index in pair]
        if twice := [index for index in swapped if swapped.count(index) > 1]:
            raise ValueError(f"flip_pairs: class {twice[0]} is in two places; it changes places with one other class")
        if wrong := [name for name in self.rare_classes if name not in self.classes]:
            raise ValueError(f"rare_classes: {wrong[0]!r} is no class.{did_you_mean(wrong[0], self.classes)}")
        self._derive(label_map=label_values.resolve(self.label_map, self.ignore_index, self.classes))
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


class ModelConfig(Section):
    backbone: Backbone = "hrnet_w18_small"
    pretrained: Path | None = None
    """Backbone checkpoint: mindcv's, or made by scripts/convert_weights.py --backbone; heads start fresh."""
    checkpoint: Path | None = None
    """Checkpoint of a whole network to fine-tune: a run's, or by convert_weights.py. Classifiers of other classes start
    fresh."""
    freeze: Literal["none", "backbone"] = "none"
    """What training leaves as it is: nothing, or the backbone with its BatchNorm statistics."""
    freeze_norm: bool = False
    """BatchNorm uses its stored statistics in training, too, for small batches; its weights still learn."""
    fuse: Literal["bilinear", "nearest"] = "bilinear"
    """How HRNet's fuse step enlarges: bilinear is the published one, nearest is mindspore-lab's. Bilinear enlarges by
    2, 4 or 8, then resizes to the branch's size (mmsegmentation, sssegmentation); with align_corners it resizes at once
    (HRNet-OCR). The two differ only where an image's side is no multiple of 32."""
    align_corners: bool = False
    """Of every bilinear resize: False for mmsegmentation and sssegmentation, True for HRNet-OCR."""
    stem_relu: bool = True
    """ReLU between the two convolutions of HRNet's stem. False for HRNet weights that sssegmentation trained before its
    version 1.7.0 of June 2025: it had none there."""
    head_channels: Positive = 512
    """Width of the pixel features."""
    key_channels: Positive = 256
    """Width of the pixel-region attention."""
    context_channels: Positive = 512
    """Width after pixel features and object context are joined: 512 published, 256 mindspore-lab."""
    context_kernel: Kernel = 1
    """Kernel of that joining convolution: 1 mmsegmentation, 3 mindspore-lab and sssegmentation."""
    aux_channels: Positive | None = None
    """Width of the auxiliary head; left out: as wide as the features that it reads."""
    aux_kernel: Kernel = 1
    """Kernel of the auxiliary head."""
    conv_bias: bool = False
    """A bias in the first convolution of both heads (HRNet-OCR has it)."""
    head_norm_eps: PositiveFloat = 1e-5
    """Added to the variance in the heads' BatchNorm: 1e-5, mindspore-lab 1e-4."""
    dropout: Dropout = 0.0
    """Dropout2d before the main classifier."""
    aux_dropout: Dropout = 0.0
    """Dropout2d before the auxiliary classifier (mmsegmentation's ResNet configs have both)."""


class OHEMConfig(Section):
    """The main loss is the mean over the hard pixels only."""

    threshold: Fraction = 0.9
    """A pixel is hard when the probability of its class is below this."""
    keep: Natural = 131072
    """So many of a card's pixels are hard whatever their probability."""


class LossConfig(Section):
    auxiliary_weight: NonNegative = 0.4
    class_weights: list[NonNegative] = []
    """One factor a class; left out: all 1."""
    average: Literal["valid", "all"] = "valid"
    """Mean over the pixels that are not ignored, or over all of them (mmsegmentation)."""
    ohem: OHEMConfig | None = None
    """Online hard example mining in the main loss; null for none."""
    dice: NonNegative = 0.0
    """Weight of the Dice loss, added to the main loss."""
    lovasz: NonNegative = 0.0
    """Weight of the Lovász-softmax loss, added to the main loss. It sorts pixels: slow with many classes on a CPU."""


class OptimizerConfig(Section):
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 5e-4
    decay_norm_and_bias: bool = True
    """Whether BatchNorm and bias decay too (they do in the published configs)."""
    head_lr_factor: PositiveFloat = 1.0
    """Learning rate of the heads over that of the schedule."""
    backbone_lr_factor: PositiveFloat = 1.0
    """Learning rate of the backbone over that of the schedule."""


class ScheduleConfig(Section):
    kind: Literal["poly", "linear", "constant"] = "poly"
    lr: PositiveFloat = 0.01
    """Learning rate after the warm-up (--lr_init)."""
    min_lr: NonNegative = 1e-4
    """Learning rate at the last step."""
    power: PositiveFloat = 0.9
    """Of the poly schedule."""
    warmup_steps: Natural = 0
    warmup_lr: NonNegative = 1e-6
    """Learning rate of the first step, when there is a warm-up."""


class LossScaleConfig(Section):
    kind: Literal["static", "dynamic", "none"] | None = None
    """null: dynamic with `train.amp`, none without."""
    value: Annotated[Float, Field(ge=1)] = 256.0
    """The static scale, or the dynamic one's start."""
    factor: Annotated[Int, Field(gt=1)] = 2
    """Dynamic: divided by it after an overflow, multiplied by it after `window` good steps."""
    window: Positive = 2000


class TrainConfig(Section):
    batch_size: Positive = 2
    """Images that a card takes at once."""
    accumulate_steps: Positive = 1
    """So many batches make one step: their mean gradient, one update. BatchNorm still sees one batch at a time."""
    total_step: Positive | None = None
    """Steps of the whole run; left out: `epochs`, or 40000 without them. Of the two, what is written later holds."""
    epochs: Positive | None = None
    """Passes over the training images, each without its incomplete last batch of all cards."""
    amp: Literal["none", "convolutions", "all"] = "none"
    """Automatic mixed precision: none is float32; convolutions in float16 (like MindSpore's O1); all but BatchNorm
    and the loss in float16 (like MindSpore's O2)."""
    loss_scale: LossScaleConfig = LossScaleConfig()
    sync_batch_norm: bool = True
    """On several cards, BatchNorm takes its statistics over the images of all of them."""
    clip_grad: NonNegative = 0.0
    """Largest global norm of the gradients; 0: no clipping."""
    overflow_limit: Positive = 50
    """Steps in a row that may overflow before training stops."""
    log_interval: Positive = 50
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
            self._derive(loss_scale=self.loss_scale.replace({"kind": "none" if self.amp == "none" else "dynamic"}))
        return self

    @property
    def images_per_step(self) -> int:
        """Images a step on each card."""
        return self.batch_size * self.accumulate_steps

    @field_validator("clip_grad", mode="before")
    @classmethod
    def _clip_to_one(cls, value: Any) -> Any:
        return float(value) if isinstance(value, bool) else value  # True means a norm of 1


class EvalConfig(Section):
    run_eval: bool = True
    """Evaluate in training, every `interval` steps and at the end."""
    interval: Positive = 4000
    batch_size: Positive = 1
    """Images of one size that go through the network together."""
    multi_scale: bool = False
    """Mean over `ratios` of the softmax (--multi_scale)."""
    ratios: Annotated[list[PositiveFloat], Field(min_length=1)] = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    """Of the image's size (or of `test_size`) with `multi_scale`."""
    flip: bool | None = None
    """Mean with the mirrored image as well; left out: with `multi_scale` only, as published."""
    window: tuple[Positive, Positive] | None = None
    """(height, width) of a sliding window; left out: the whole image at once."""
    stride: tuple[Positive, Positive] | None = None
    """(down, across) from one window to the next; left out: two thirds of the window."""
    boundary: Natural = 0
    """Also score the pixels at most so far from another class: the trimap's width; 0: don't."""
    visualized_images: Natural = 8
    """How many images --visualize True writes, and how many best and worst ones a report shows."""
    tensorboard_images: Natural = 3
    """How many images each evaluation in training hands to TensorBoard."""

    @property
    def mirrors(self) -> bool:
        """Whether the mirrored image is evaluated as well."""
        return self.multi_scale if self.flip is None else self.flip

    @model_validator(mode="after")
    def _derive_stride(self) -> "EvalConfig":
        if self.stride and not self.window:
            raise ValueError(f"stride: {list(self.stride)} is of a sliding window; give eval.window too")
        if self.window and not self.stride:
            self._derive(stride=tuple(max(1, round(side * 2 / 3)) for side in self.window))
        if self.window and any(step > side for step, side in zip(self.stride, self.window, strict=True)):
            raise ValueError(f"stride: {list(self.stride)} leaves gaps between windows of {list(self.window)}")
        return self


class CheckpointConfig(Section):
    interval: Positive = 4000
    """Steps between numbered checkpoints."""
    keep: Positive = 5
    """Numbered checkpoints kept; `latest` and `best` stay anyway. From 2 on there is one to fall back to."""


class Config(Section):
    device_target: Literal["Ascend", "GPU", "CPU"] | None = None
    """Left out: the one that is there, Ascend before GPU before CPU."""
    ms_mode: Mode = 0
    """0 compiles the graph, 1 is PyNative."""
    seed: Natural = 1234
    save_dir: Path = Path("runs")
    """Everything a run writes; left out: runs/NAME OF THE CONFIG_FILE."""
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
            raise ValueError("loss.class_weights: all are 0, so nothing is learned; [] makes all 1")
        if self.model.pretrained and self.model.checkpoint:
            raise ValueError("model.pretrained, model.checkpoint: the checkpoint has a backbone of its own. Keep one.")
        return self

    @classmethod
    def field(cls, key: str) -> FieldInfo | None:
        """What the schema says of a dotted key; None when there is no such key."""
        *path, name = key.split(".")
        section = cls.below(tuple(path))
        return section.model_fields.get(name) if section else None

    def to_yaml(self) -> str:
        """The whole resolved config, readable by `load_config` again."""
        tree = self.model_dump(mode="json")
        tree["data"]["label_map"] = dict(self.data.label_map)  # JSON would make the numbers strings
        return yaml_syntax.dump(tree, default_flow_style=None, width=120)
