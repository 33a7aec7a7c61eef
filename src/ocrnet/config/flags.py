"""The command-line flags that set config keys, and the flags of cloud platforms.

A config file may contain them at its top level too, as the config files of mindspore-lab do.
"""

from typing import NamedTuple


class Flag(NamedTuple):
    """A command-line flag that sets a config key."""

    key: str
    """Dotted name of the key."""
    help: str
    aliases: tuple[str, ...] = ()
    """Other names of the flag: those of mindspore-lab."""
    training_only: bool = False
    """Whether it matters for training only: other programs accept it and print a note that it has no effect."""


DEVICE, DATA, TRAINING, EVALUATION = "device and output", "data", "training", "evaluation"

CONFIG_FLAGS = {
    DEVICE: {
        "device_target": Flag("device_target", "device; null: auto-detected, Ascend before GPU before CPU"),
        "ms_mode": Flag("ms_mode", "0: graph mode, 1: PyNative mode"),
        "save_dir": Flag("save_dir", "folder for everything that a run writes, runs/NAME_OF_CONFIG by default"),
        "amp": Flag("train.amp", "automatic mixed precision"),
        "mix": Flag("train.mix", "mindspore-lab's name: True means --amp, at --amp_level"),
        "amp_level": Flag("train.amp_level", "mindspore-lab's name: O2 is --amp convolutions, O3 is --amp all"),
    },
    DATA: {
        "data_root": Flag("data.root", "folder of the data set", ("dataset_dir",)),
        "workers": Flag(
            "data.workers",
            "data threads; 0: half of the cores, at most 8",
            ("num_parallel_workers", "num_workers"),
            True,
        ),
        "prefetch_size": Flag("data.prefetch_size", "batches to prepare ahead", (), True),
    },
    TRAINING: {
        "seed": Flag("seed", "random seed of weights, image order and augmentation", (), True),
        "batch_size": Flag("train.batch_size", "images per device and batch", (), True),
        "total_step": Flag("train.total_step", "steps of the whole run", (), True),
        "lr": Flag("schedule.lr", "learning rate after the warm-up", ("lr_init",), True),
        "loss_scale": Flag(
            "train.loss_scale.kind",
            "loss scale; null: dynamic with --amp in float16, otherwise none",
            ("ms_loss_scaler",),
            True,
        ),
        "loss_scale_value": Flag(
            "train.loss_scale.value", "static or initial dynamic loss scale", ("ms_loss_scaler_value",), True
        ),
        "clip_grad": Flag("train.clip_grad", "largest global gradient norm; True is 1, False is no clipping", (), True),
        "log_interval": Flag("train.log_interval", "steps between log lines", (), True),
        "run_eval": Flag("eval.run_eval", "evaluate during training", (), True),
    },
    EVALUATION: {
        "multi_scale": Flag("eval.multi_scale", "average over eval.ratios and the flipped image"),
    },
}
"""{group in the help: {name: flag}}"""

FLAGS = {name: flag for group in CONFIG_FLAGS.values() for name, flag in group.items()}

CLOUD_FLAGS = {
    "data_url": "data set: obs://, s3://, or a local path that the platform provides",
    "multi_data_url": "OpenI's JSON list of data sets",
    "ckpt_url": "train.py: weights of the backbone (model.pretrained); eval.py: the checkpoint",
    "train_url": "destination of everything that a run writes",
}

PROGRAM_FLAGS = ("enable_modelarts", "data_dir", *CLOUD_FLAGS)
"""Flags that are not config keys but may be in a config file."""

IGNORED_FLAGS = {
    "max_rowsize": "the data threads share the program's memory, so no row has to fit into a buffer",
}
"""{flag of mindspore-lab that is accepted and ignored: reason}"""
