"""The command-line flags that stand for keys of the configuration, or tell a program about a cloud platform.

A config file may have them at its top level as well, as those of earlier MindSpore repositories do.
"""

CONFIG_FLAGS = {
    # flag: (key of the configuration, what help says)
    "device_target": ("device_target", "Ascend, GPU or CPU; left out: the one that is there"),
    "ms_mode": ("ms_mode", "0 graph, 1 PyNative"),
    "seed": ("seed", "of weights, order of images and augmentation"),
    "save_dir": ("save_dir", "everything a run writes"),
    "dataset_dir": ("data.root", "folder of the data set"),
    "num_parallel_workers": ("data.workers", "data threads"),
    "num_workers": ("data.workers", "data threads"),
    "prefetch_size": ("data.prefetch_size", "batches prepared ahead"),
    "batch_size": ("train.batch_size", "images a step on each card"),
    "total_step": ("train.total_step", "steps of the whole run"),
    "mix": ("train.mix", "True: mixed precision at --amp_level"),
    "amp_level": ("train.amp_level", "O0, O2 or O3"),
    "ms_loss_scaler": ("train.loss_scale.kind", "static, dynamic or none; left out: dynamic with --mix True"),
    "ms_loss_scaler_value": ("train.loss_scale.value", "static scale, or where the dynamic one starts"),
    "clip_grad": ("train.clip_grad", "largest global gradient norm; True is 1, False is none"),
    "log_interval": ("train.log_interval", "steps between log lines"),
    "lr_init": ("schedule.lr", "learning rate after warm-up"),
    "run_eval": ("eval.run_eval", "True: evaluate in training"),
    "multi_scale": ("eval.multi_scale", "True: mean over eval.ratios and the mirrored image"),
}

CLOUD_FLAGS = {
    "data_url": "data set: obs:// or s3://, or a path that the platform has filled",
    "multi_data_url": "OpenI's JSON list of data sets",
    "ckpt_url": "train.py: weights of the backbone (model.pretrained); eval.py: the checkpoint",
    "train_url": "where everything a run writes goes",
}

PROGRAM_FLAGS = ("enable_modelarts", "data_dir", *CLOUD_FLAGS)
"""Flags that are no keys of the configuration but may stand in a config file."""

WITHOUT_EFFECT = {
    "max_rowsize": "the data threads share the program's memory, so no row has to fit into a buffer",
}
"""{flag of earlier repositories that is read and does nothing: why}"""
