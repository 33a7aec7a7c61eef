"""The compiled training step, kept for the next start of the same program with the same recipe."""

import hashlib
import importlib.metadata
import platform
import shutil
from pathlib import Path

import mindcv
import mindspore as ms
from mindspore import ops

import ocrnet
from ocrnet import launcher
from ocrnet.config import Config
from ocrnet.errors import UserError
from ocrnet.models.layers import draw_dropout
from ocrnet.train_cell import TrainOneStep

_WHOLE = "whole.sha256"


def compile_step(train_step: TrainOneStep, config: Config, folder: Path) -> None:
    """Compile `train_step` in graph mode, or take what an equal program left in `folder`.

    MindSpore numbers what it caches in the order of compiling and trusts most of it. So the cache is on for this one
    graph only, in a folder named by all that the graph depends on, and what is there must be what was written.

    Raises:
        UserError: `folder` cannot be written, or there are several ranks.
    """
    if launcher.ranks().size > 1:
        raise UserError("--compile_cache is for one process; leave it out where several ranks train")
    place = folder / _fingerprint(config)
    batch, size = config.train.batch_size, config.data.crop_size
    images, labels = ops.zeros((batch, 3, *size), ms.float32), ops.zeros((batch, *size), ms.int32)
    train_step.set_train(True)
    draw_dropout(train_step.loss_network.network, config.seed, range(batch))  # its shape is part of the graph
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
    """Of the program's and mindcv's sources, the versions below them, the recipe and the device."""
    recipe = config.model_copy(update={"save_dir": Path()}).to_yaml()
    versions = [importlib.metadata.version(name) for name in ("mindspore", "mindcv", "numpy")]
    facts = [*versions, platform.python_version(), ms.get_context("device_target"), recipe]
    digest = hashlib.sha256("\n".join(map(str, facts)).encode())
    for package in (ocrnet, mindcv.models):
        for file in sorted(Path(package.__file__).parent.rglob("*.py")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:32]


def _checksum(place: Path) -> str:
    files = sorted(file for file in place.rglob("*") if file.is_file() and file.name != _WHOLE)
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
