"""The compiled training step, kept for the next start of the same program with the same config."""

import hashlib
import importlib.metadata
import platform
import shutil
from pathlib import Path

import mindcv
import mindspore as ms
from mindspore import ops

import ocrnet
from ocrnet.config import Config
from ocrnet.distributed import launcher
from ocrnet.errors import UserError
from ocrnet.training.step import TrainOneStep

_WHOLE = "whole.sha256"


def compile_step(train_step: TrainOneStep, config: Config, folder: Path) -> None:
    """Compile `train_step` in graph mode, or take what an equal program left in `folder`.

    MindSpore numbers what it cached in the order of compiling and trusts most of it. So the cache is on for this one
    graph only, in a folder named by all that the graph depends on, and what is there must be what was written. A graph
    from the cache finds its parameters among those of the cell; where some are not registered there, as dropout's, it
    would keep to the values it was written with, so such a step is compiled anew.

    Raises:
        UserError: `folder` cannot be written.
    """
    model, train = config.model, config.train
    if model.dropout or model.aux_dropout or train.loss_scale.kind != "none" or train.accumulate_steps > 1:
        print("--compile_cache: not with dropout, a loss scale or accumulated steps; the step is compiled anew")
        return
    if launcher.ranks().size > 1:
        print("--compile_cache: for one process only; the step is compiled anew")
        return
    place = folder / _fingerprint(config)
    batch, size = config.train.batch_size, config.data.crop_size
    images, labels = ops.zeros((batch, 3, *size), ms.float32), ops.zeros((batch, *size), ms.int32)
    train_step.set_train(True)
    try:
        if not (place / _WHOLE).is_file() or (place / _WHOLE).read_text() != _checksum(place):
            shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        ms.set_context(enable_compile_cache=True, compile_cache_path=str(place))
        train_step.compile(images, labels)
        (place / _WHOLE).write_text(_checksum(place))
    except OSError as error:
        raise UserError(f"--compile_cache {folder}: cannot write here: {error.strerror}") from None
    finally:
        ms.set_context(enable_compile_cache=False)


def _fingerprint(config: Config) -> str:
    """Of the program's and mindcv's sources, the versions below them, the config and the device."""
    config_file = config.model_copy(update={"save_dir": Path()}).to_yaml()
    versions = [importlib.metadata.version(name) for name in ("mindspore", "mindcv", "numpy")]
    facts = [*versions, platform.python_version(), ms.get_context("device_target"), config_file]
    digest = hashlib.sha256("\n".join(map(str, facts)).encode())
    for package in (ocrnet, mindcv.models):
        for file in sorted(Path(package.__file__).parent.rglob("*.py")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:32]


def _checksum(place: Path) -> str:
    files = sorted(file for file in place.rglob("*") if file.is_file() and file.name != _WHOLE)
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
