"""Weights in MindSpore's .ckpt files: atomic writing, reading with a checksum, and loading into a network."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ocrnet.config import Config, StoredConfig, compatibility
from ocrnet.errors import UserError

CONFIG = "ocrnet.recipe"
"""The entry of a checkpoint with the resolved configuration, as YAML."""
RAW = "raw."
"""Prefix of the weights that training continues with, in a checkpoint whose network has averaged ones (`train.ema`)."""
UPDATES = "ema.updates"
"""The entry of such a checkpoint with the number of updates of the average."""
CLASSES, CHECKSUM, VERSIONS = "ocrnet.classes", "ocrnet.sha256", "ocrnet.versions"


class DamagedCheckpoint(UserError):
    """A damaged checkpoint, or a file that is not a checkpoint."""


def save_weights(path: Path, weights: dict[str, np.ndarray], config: Config | None = None) -> None:
    """Writes weights without training state, atomically; with `config`, also its classes and the configuration.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.writing.ckpt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: Tensor(value) for name, value in weights.items()}
        write(temporary, tensors, describe(config) if config else {})
        os.replace(temporary, path)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot write this file: {cause(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_suffix(".tmp").unlink(missing_ok=True)  # MindSpore writes to this file first


def write(path: Path, weights: Mapping[str, Tensor], texts: dict[str, str]) -> None:
    """Writes a .ckpt with its checksum and syncs it to disk. Raises OSError, ValueError or RuntimeError."""
    path.unlink(missing_ok=True)
    ms.save_checkpoint(
        [{"name": name, "data": value} for name, value in weights.items()],
        str(path),
        append_dict={**texts, CHECKSUM: _checksum({**weights, **texts})},
    )
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _checksum(entries: Mapping[str, Tensor | str]) -> str:
    """Returns the SHA-256 of names, types, shapes and values, independent of the file format."""
    digest = hashlib.sha256()
    for name, value in sorted(entries.items()):
        if name == CHECKSUM:
            continue
        if isinstance(value, str):
            digest.update(f"{name}\0{value}\0".encode())
        else:
            array = np.ascontiguousarray(value.asnumpy())
            digest.update(f"{name}\0{array.dtype}{array.shape}\0".encode())
            digest.update(array.data)
    return digest.hexdigest()


def describe(config: Config) -> dict[str, str]:
    """Returns the text entries of a checkpoint: the classes, the configuration and the versions of the packages."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mindspore", "mindcv", "numpy"))
    return {CLASSES: "\n".join(config.data.classes), CONFIG: config.to_yaml(), VERSIONS: versions}


def cause(error: Exception) -> str:
    """Returns the reason for a failed write. MindSpore wraps the system error in its own exception."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__
    return error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())


def read_checkpoint(path: Path) -> dict[str, Parameter | str]:
    """Reads a checkpoint: {tensor name: parameter}, and the entries of this program, whose names start with `ocrnet.`.

    Raises:
        UserError: the file is missing, or cannot be read now (permissions, open files, memory, input/output).
        DamagedCheckpoint: the file is damaged, is not a checkpoint, or its checksum is wrong.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path}: checkpoint not found")
        stored = ms.load_checkpoint(str(path))
        has_checksum = any(name.startswith("ocrnet.") for name in stored)
        intact = not has_checksum or stored.get(CHECKSUM) == _checksum(stored)
    except UserError:
        raise
    except Exception as error:  # MindSpore's parser raises any kind of exception
        if trouble := _system_error(error, path):
            raise UserError(f"{path}: cannot read this checkpoint: {trouble}") from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DamagedCheckpoint(f"{path}: not a readable checkpoint, damaged or truncated ({reason})") from None
    if not intact:
        raise DamagedCheckpoint(f"{path}: damaged: its content does not match its SHA-256")
    return stored


def _system_error(error: BaseException | None, path: Path) -> str:
    """Returns the system error that prevented reading a file; "" if the file itself is damaged.

    MindSpore wraps or hides system errors, and its parser reports a lack of memory as a damaged message. So the causes
    of the exception are checked, and the file is read once more with the memory that it needs.
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
            np.empty(4 * file.tell(), np.uint8)  # the file, the parsed message, the arrays and MindSpore's tensors
    except OSError as trouble:
        return trouble.strerror or str(trouble)
    except MemoryError:
        return "not enough memory"
    return ""


def stored_config(path: Path, stored: dict[str, Parameter | str]) -> StoredConfig:
    """Returns the configuration in a checkpoint.

    Raises:
        UserError: the checkpoint has none: another program wrote it.
    """
    if CONFIG not in stored:
        raise UserError(f"{path}: this checkpoint has no configuration: give its config, too")
    return StoredConfig(path, str(stored[CONFIG]))


def load_weights(network: nn.Cell, path: Path, config: Config, stored: dict[str, Parameter | str] | None = None) -> str:
    """Loads all weights of `network` from a checkpoint. Returns a note on changed settings, or "".

    Args:
        stored: the content of the checkpoint, if it was already read.

    Raises:
        UserError: see `read_checkpoint`; also if a tensor is missing or has another shape, or the checkpoint was
            trained with another configuration of the network, its input or its classes.
    """
    stored = read_checkpoint(path) if stored is None else stored
    trained_on, hint = str(stored.get(CLASSES, "")).split("\n"), ""
    if len(trained_on) != len(config.data.classes) and trained_on != [""]:
        hint = f" It was trained for {len(trained_on)} classes, the config has {len(config.data.classes)}."
    problems, note = compatibility.compare(path, str(stored.get(CONFIG, "")), config, "evaluate")
    assign(network.parameters_dict(), stored, f"{path}: does not fit this config's network.{hint}", problems)
    return note


def load_backbone(backbone: nn.Cell, path: Path) -> None:
    """Loads a backbone's ImageNet weights with mindcv's names; the classification head is ignored.

    Raises:
        UserError: see `read_checkpoint`; also if a tensor of the backbone is missing or has another shape.
    """
    if path.suffix != ".ckpt":
        raise UserError(f"model.pretrained {path}: convert it to .ckpt with scripts/convert_weights.py --backbone")
    parameters = {name.removeprefix("backbone."): value for name, value in backbone.parameters_dict().items()}
    assign(parameters, read_checkpoint(path), f"model.pretrained {path}: does not fit this backbone")


def load_for_fine_tuning(network: nn.Cell, path: Path, config: Config, classes: Sequence[str] | None = None) -> str:
    """Loads the weights of a whole network for fine-tuning. Returns a line on what was loaded.

    The two classifiers keep their initial weights if the shapes differ, or if the checkpoint has other class names. All
    other tensors must be in the checkpoint.

    Args:
        classes: class names of `network`; default: those of the config.

    Raises:
        UserError: see `read_checkpoint`; also if another tensor is missing or has another shape, or the checkpoint was
            trained with another configuration of the network.
    """
    stored = read_checkpoint(path)
    classes, trained_on = list(classes or config.data.classes), str(stored.get(CLASSES, "")).split("\n")
    problems, _ = compatibility.compare(path, str(stored.get(CONFIG, "")), config, "fine-tune")
    parameters = network.parameters_dict()
    heads = {name: value for name, value in parameters.items() if ".classifier." in name}
    same = all(name in stored and stored[name].shape == value.shape for name, value in heads.items())
    initial = [] if same and trained_on in (classes, [""]) else list(heads)
    loaded = {name: value for name, value in parameters.items() if name not in initial}
    assign(loaded, stored, f"model.checkpoint {path}: does not fit this network", problems)
    if not initial:
        return f"{path}: all {len(parameters)} tensors loaded, including the classifiers"
    unnamed = stored[initial[0]].shape[0] if initial[0] in stored else "other"
    before = len(trained_on) if trained_on != [""] else unnamed
    return (
        f"{path}: {len(loaded)} tensors loaded; randomly initialized for {len(classes)} classes instead of {before}: "
        + ", ".join(initial)
    )


def assign(
    parameters: dict[str, Parameter],
    stored: dict[str, Parameter | str],
    message: str,
    problems: Sequence[str] = (),
) -> None:
    """Sets all parameters, or raises UserError with `message`, `problems` and the unmatched parameters."""
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    if problems := [*problems, *mismatches(shapes, stored)]:
        raise UserError(message, problems)
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(stored[name].asnumpy(), parameter.dtype))


def mismatches(expected: Mapping[str, tuple[int, ...]], stored: Mapping[str, Any]) -> list[str]:
    """Returns one line for each `expected` tensor, {name: shape}, that `stored` does not have or has in another shape.

    At most 20 lines, and one with the number of further ones.
    """
    problems = []
    for name, shape in expected.items():
        if name not in stored:
            problems.append(f"{name}: missing in the file, shape {tuple(shape)} in the network")
        elif tuple(stored[name].shape) != tuple(shape):
            problems.append(f"{name}: shape {tuple(stored[name].shape)} in the file, {tuple(shape)} in the network")
    return problems if len(problems) <= 20 else [*problems[:20], f"and {len(problems) - 20} more"]
