"""Weights in MindSpore's .ckpt files: written whole or not at all, read with their checksum, loaded into a network."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ocrnet.config import Config, compatibility
from ocrnet.errors import UserError

CONFIG = "ocrnet.recipe"
"""The entry of a checkpoint that holds the resolved configuration, as YAML."""
_CLASSES, _CHECKSUM = "ocrnet.classes", "ocrnet.sha256"


class DamagedCheckpoint(UserError):
    """A file that is not what was written."""


def save_weights(path: Path, weights: dict[str, np.ndarray], config: Config | None = None) -> None:
    """Write weights alone, without training state, whole or not at all; with `config`, its classes and config too.

    Raises:
        UserError: the file cannot be written.
    """
    scratch = path.with_name(f".{path.stem}.writing.ckpt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: Tensor(value) for name, value in weights.items()}
        write(scratch, tensors, describe(config) if config else {})
        os.replace(scratch, path)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot write this file: {cause(error)}") from None
    finally:
        scratch.unlink(missing_ok=True)
        scratch.with_suffix(".tmp").unlink(missing_ok=True)  # MindSpore writes there first


def write(path: Path, weights: Mapping[str, Tensor], texts: dict[str, str]) -> None:
    """Write a .ckpt with its checksum and bring it to the disk. Raises OSError, ValueError or RuntimeError."""
    path.unlink(missing_ok=True)
    ms.save_checkpoint(
        [{"name": name, "data": value} for name, value in weights.items()],
        str(path),
        append_dict={**texts, _CHECKSUM: _checksum({**weights, **texts})},
    )
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _checksum(entries: Mapping[str, Tensor | str]) -> str:
    """SHA-256 over names, types, shapes and values, whatever bytes the file format makes of them."""
    digest = hashlib.sha256()
    for name, value in sorted(entries.items()):
        if name == _CHECKSUM:
            continue
        if isinstance(value, str):
            digest.update(f"{name}\0{value}\0".encode())
        else:
            array = np.ascontiguousarray(value.asnumpy())
            digest.update(f"{name}\0{array.dtype}{array.shape}\0".encode())
            digest.update(array.data)
    return digest.hexdigest()


def describe(config: Config) -> dict[str, str]:
    """What a checkpoint says besides numbers: its classes and its config."""
    return {_CLASSES: "\n".join(config.data.classes), CONFIG: config.to_yaml()}


def cause(error: Exception) -> str:
    """Why writing failed. MindSpore wraps the system's error in one of its own."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__
    return error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())


def read_checkpoint(path: Path) -> dict[str, Parameter | str]:
    """{tensor name: parameter} and our own entries under `ocrnet.`.

    Raises:
        UserError: the file is missing, or the machine cannot read it now (rights, open files, memory, input/output).
        DamagedCheckpoint: it is damaged or no checkpoint, or it is ours and its checksum is wrong.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path}: checkpoint not found")
        stored = ms.load_checkpoint(str(path))
        ours = any(name.startswith("ocrnet.") for name in stored)
        whole = not ours or stored.get(_CHECKSUM) == _checksum(stored)
    except UserError:
        raise
    except Exception as error:  # MindSpore raises whatever its parser met
        if trouble := _machine_trouble(error, path):
            raise UserError(f"{path}: cannot read this checkpoint: {trouble}") from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DamagedCheckpoint(f"{path}: not a readable checkpoint, damaged or cut short? ({reason})") from None
    if not whole:
        raise DamagedCheckpoint(f"{path}: damaged: its content does not match its SHA-256")
    return stored


def _machine_trouble(error: BaseException | None, path: Path) -> str:
    """Why a file could not be read although it may be whole; "" when the file is at fault.

    MindSpore wraps or swallows the system's errors, and its parser calls a lack of memory a damaged message. So what it
    says is followed to its cause, and the file is read once more, with as much memory as it takes.
    """
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        if isinstance(error, MemoryError):
            return "not enough memory"
        error = error.__cause__ or error.__context__
    try:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
            np.empty(4 * file.tell(), np.uint8)  # the file, its message, the arrays and MindSpore's tensors
    except OSError as trouble:
        return trouble.strerror or str(trouble)
    except MemoryError:
        return "not enough memory"
    return ""


def load_weights(network: nn.Cell, path: Path, config: Config) -> str:
    """Load all weights of `network` from a checkpoint of ours; a line about what may differ from its training, or "".

    Raises:
        UserError: as `read_checkpoint`, and when a tensor is missing or has another shape, or the checkpoint was
            trained with another configuration of the network, its input or its classes.
    """
    stored = read_checkpoint(path)
    trained_on, hint = str(stored.get(_CLASSES, "")).split("\n"), ""
    if len(trained_on) != len(config.data.classes) and trained_on != [""]:
        hint = f" It was trained for {len(trained_on)} classes, the config has {len(config.data.classes)}."
    problems, note = compatibility.compare(path, str(stored.get(CONFIG, "")), config, "evaluate")
    assign(network.parameters_dict(), stored, f"{path}: does not fit this config's network.{hint}", problems)
    return note


def load_backbone(backbone: nn.Cell, path: Path) -> None:
    """Load a backbone's ImageNet weights under mindcv's names; its classification head is left unused.

    Raises:
        UserError: as `read_checkpoint`, and when a tensor of the backbone is missing or has another shape.
    """
    if path.suffix != ".ckpt":
        raise UserError(f"model.pretrained {path}: make a .ckpt of it with scripts/convert_weights.py --backbone")
    parameters = {name.removeprefix("backbone."): value for name, value in backbone.parameters_dict().items()}
    assign(parameters, read_checkpoint(path), f"model.pretrained {path}: does not fit this backbone")


def load_for_classes(network: nn.Cell, path: Path, config: Config) -> str:
    """Load a whole network's weights to go on with other classes; say what was loaded and what starts fresh.

    The two classifiers keep the weights they have when their shapes differ, or the names of the classes in a
    checkpoint that knows them. All else must be there.

    Raises:
        UserError: as `read_checkpoint`, and when another tensor is missing or has another shape, or the checkpoint is
            of a network of another configuration.
    """
    stored = read_checkpoint(path)
    classes, trained_on = config.data.classes, str(stored.get(_CLASSES, "")).split("\n")
    problems, _ = compatibility.compare(path, str(stored.get(CONFIG, "")), config, "fine-tune")
    parameters = network.parameters_dict()
    heads = {name: value for name, value in parameters.items() if ".classifier." in name}
    same = all(name in stored and stored[name].shape == value.shape for name, value in heads.items())
    fresh = [] if same and trained_on in (classes, [""]) else list(heads)
    kept = {name: value for name, value in parameters.items() if name not in fresh}
    assign(kept, stored, f"model.checkpoint {path}: does not fit this network", problems)
    if not fresh:
        return f"{path}: all {len(parameters)} tensors loaded, the classifiers with them"
    before = len(trained_on) if trained_on != [""] else stored[fresh[0]].shape[0] if fresh[0] in stored else "other"
    return (
        f"{path}: {len(parameters) - len(fresh)} tensors loaded; fresh for {len(classes)} classes instead of {before}: "
        + ", ".join(fresh)
    )


def assign(
    parameters: dict[str, Parameter],
    stored: dict[str, Parameter | str],
    complaint: str,
    problems: Sequence[str] = (),
) -> None:
    """Set all parameters, or none: raises UserError with `complaint`, `problems` and what does not fit."""
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    if problems := [*problems, *misfits(shapes, stored)]:
        raise UserError(complaint, problems)
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(stored[name].asnumpy(), parameter.dtype))


def misfits(wanted: Mapping[str, tuple[int, ...]], stored: Mapping[str, Any]) -> list[str]:
    """A line for each of the `wanted` tensors, {name: shape}, that is not in `stored` or has another shape there.

    20 at most, and then how many more.
    """
    problems = []
    for name, shape in wanted.items():
        if name not in stored:
            problems.append(f"{name}: missing in the file, shape {tuple(shape)} in the network")
        elif tuple(stored[name].shape) != tuple(shape):
            problems.append(f"{name}: shape {tuple(stored[name].shape)} in the file, {tuple(shape)} in the network")
    return problems if len(problems) <= 20 else [*problems[:20], f"and {len(problems) - 20} more"]
