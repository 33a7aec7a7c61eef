"""The configuration: its keys (`schema`), files (`loading`) and flags (`flags`, `command_line`).

A resolved configuration is immutable. Uses `formats`, for the classes of public data sets, and `distributed`, for the
rank.
"""

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
    PhotometricConfig,
    TrainConfig,
)

__all__ = [
    "Backbone",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DataFormat",
    "DeviceConfig",
    "EvalConfig",
    "LossConfig",
    "LossScaleConfig",
    "ModelConfig",
    "OHEMConfig",
    "OptimizerConfig",
    "ParameterGroup",
    "PhotometricConfig",
    "ScheduleConfig",
    "StoredConfig",
    "TrainConfig",
    "load_config",
]
