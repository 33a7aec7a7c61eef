"""Caches the compiled training step for the next start of the same program with the same config."""

import hashlib
import importlib.metadata
import platform
import shutil
from pathlib import Path

import mindcv
import mindspore as ms
from mindspore import Tensor, ops

import ocrnet
from ocrnet.config import Config
from ocrnet.distributed import launcher
from ocrnet.errors import UserError
from ocrnet.training.step import TrainOneStep

_CHECKSUM_FILE = "whole.sha256"


def compile_step(train_step: TrainOneStep, config: Config, folder: Path) -> None:
    """Compile `train_step` in graph mode, or load it from the cache in `folder`.

    MindSpore numbers its cache files in the order of compilation and hardly validates them. Therefore the cache is
    enabled for this graph only, in a folder named by the hash of everything that the graph depends on, and verified by
    a checksum. A cached graph uses the registered parameters of the cell. Unregistered ones, such as dropout's, would
    keep the values at the time of caching, so a step with them is always compiled.

    Raises:
        UserError: `folder` cannot be written.
    """
    model, train = config.model, config.train
    if model.dropout or model.aux_dropout or train.loss_scale.kind != "none" or train.accumulate_steps > 1:
        print("--compile_cache: not supported with dropout, a loss scale or accumulated steps; compiling the step")
        return
    if launcher.ranks().size > 1:
        print("--compile_cache: supported for one process only; compiling the step")
        return
    cache_dir = folder / _fingerprint(config)
    batch, size = config.train.batch_size, config.data.crop_size
    images, labels = ops.zeros((batch, 3, *size), ms.float32), ops.zeros((batch, *size), ms.int32)
    train_step.set_train(True)
    try:
        checksum = cache_dir / _CHECKSUM_FILE
        if not checksum.is_file() or checksum.read_text() != _checksum(cache_dir):
            shutil.rmtree(cache_dir, ignore_errors=True)
        cache_dir.mkdir(parents=True, exist_ok=True)
        ms.set_context(enable_compile_cache=True, compile_cache_path=str(cache_dir))
        train_step.compile(images, labels, Tensor(0.0, ms.float32))
        checksum.write_text(_checksum(cache_dir))
    except OSError as error:
        raise UserError(f"--compile_cache {folder}: cannot write here: {error.strerror}") from None
    finally:
        ms.set_context(enable_compile_cache=False)


def _fingerprint(config: Config) -> str:
    """Returns a hash of the program's and mindcv's sources, package versions, the config and the device."""
    config_yaml = config.model_copy(update={"save_dir": Path()}).to_yaml()
    versions = [importlib.metadata.version(name) for name in ("mindspore", "mindcv", "numpy")]
    facts = [*versions, platform.python_version(), ms.get_context("device_target"), config_yaml]
    digest = hashlib.sha256("\n".join(map(str, facts)).encode())
    for package in (ocrnet, mindcv.models):
        for file in sorted(Path(package.__file__).parent.rglob("*.py")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:32]


def _checksum(cache_dir: Path) -> str:
    files = sorted(file for file in cache_dir.rglob("*") if file.is_file() and file.name != _CHECKSUM_FILE)
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
