"""The configuration: its keys (`schema`), files (`loading`) and flags (`flags`, `command_line`).

A resolved configuration is immutable. Uses `formats`, for the classes of public data sets, and `distributed`, for the
rank.
"""

from ocrnet.config.augmentation import (
    AugmentConfig,
    BlurConfig,
    CutoutConfig,
    JPEGConfig,
    NoiseConfig,
    PhotometricConfig,
    RotationConfig,
    ShiftScaleConfig,
)
from ocrnet.config.device import DeviceConfig
from ocrnet.config.loading import StoredConfig, load_config
from ocrnet.config.optimization import LossConfig, OHEMConfig, OptimizerConfig, ParameterGroup, ScheduleConfig
from ocrnet.config.schema import (
    Backbone,
    CheckpointConfig,
    Config,
    DataConfig,
    DataFormat,
    EvalConfig,
    LossScaleConfig,
    ModelConfig,
    TrainConfig,
)

__all__ = [
    "AugmentConfig",
    "Backbone",
    "BlurConfig",
    "CheckpointConfig",
    "Config",
    "CutoutConfig",
    "DataConfig",
    "DataFormat",
    "DeviceConfig",
    "EvalConfig",
    "JPEGConfig",
    "LossConfig",
    "LossScaleConfig",
    "ModelConfig",
    "NoiseConfig",
    "OHEMConfig",
    "OptimizerConfig",
    "ParameterGroup",
    "PhotometricConfig",
    "RotationConfig",
    "ScheduleConfig",
    "ShiftScaleConfig",
    "StoredConfig",
    "TrainConfig",
    "load_config",
]
