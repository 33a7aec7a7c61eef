"""Checkpoints: one MindSpore .ckpt file that holds all that a run needs to go on, and weights from elsewhere."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ocrnet.config import Config
from ocrnet.errors import UserError

_CLASSES, _RECIPE, _PROGRESS, _CHECKSUM = "ocrnet.classes", "ocrnet.recipe", "ocrnet.progress", "ocrnet.sha256"


class DamagedCheckpoint(UserError):
    """A file that is not what was written."""


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    samples: int = 0
    """Samples seen by all ranks together: the position in the data."""
    best_miou: float = -1.0
    """Best validation mIoU so far; -1 before the first."""
    evaluated: int = 0
    """The step after which the last evaluation took place."""
    skipped: int = 0
    """Steps without an update because gradients overflowed."""
    skipped_in_row: int = 0
    """Those of them since the last update."""
    replaced: dict[str, int] = field(default_factory=dict)
    """{what is wrong with a pair: how often its neighbour took its place}"""


class CheckpointFolder:
    """`latest.ckpt`, `best.ckpt` and numbered checkpoints of one run, under `<save_dir>/checkpoint`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.path = config.save_dir / "checkpoint"
        self.latest = self.path / "latest.ckpt"
        self.best = self.path / "best.ckpt"

    def create(self, resuming: bool) -> str:
        """Make the folder. A fresh run sets an earlier run's files aside; the answer says where, if so."""
        moved = ""
        try:
            if not resuming and (self.latest.exists() or (self.config.save_dir / "train.log").exists()):
                mend = " (--resume_ckpt auto would have gone on with it)" if self.latest.exists() else ""
                moved = f"an earlier run was here; it is now in {_set_aside(self.config.save_dir)}{mend}"
            self.path.mkdir(parents=True, exist_ok=True)
            self._remove_halves()
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"save_dir {self.config.save_dir}: cannot write here: {error.strerror}. Choose another --save_dir."
            ) from None
        return moved

    def numbered(self) -> list[tuple[int, Path]]:
        """(step, file) of the numbered checkpoints, oldest first."""
        pattern = re.compile(rf"OCRNet_{self.config.model.backbone}_(\d+)_rank0\.ckpt")
        found = [(pattern.fullmatch(file.name), file) for file in self.path.iterdir()]
        return sorted((int(match[1]), file) for match, file in found if match)

    def newest_first(self) -> list[Path]:
        """What --resume_ckpt auto tries, in this order: `latest`, the numbered ones, `best`."""
        if not self.path.is_dir():
            return []
        numbered = [file for _, file in reversed(self.numbered())]
        return [file for file in (self.latest, *numbered, self.best) if file.exists()]

    def resume_newest(self, parameters: dict[str, Parameter]) -> tuple[Path | None, Progress]:
        """Go on from the newest checkpoint that is whole. Damaged ones are named and set aside.

        Raises:
            UserError: as `resume`, but for damage.
        """
        for file in self.newest_first():
            try:
                return file, resume(parameters, file)
            except DamagedCheckpoint as error:
                aside = _free_name(f"{file}.damaged")
                file.rename(aside)
                print(f"warning: {error}\n  set aside as {aside}, trying the one before", file=sys.stderr)
        return None, Progress()

    def save(self, parameters: dict[str, Parameter], progress: Progress, is_best: bool) -> str:
        """Write `latest`, name it `best` too and, every `checkpoint.interval` steps, by its number; then prune.

        `latest` gets its name last: a run that is killed in between goes on from the one before and does the same
        again.

        Returns:
            why nothing could be written (then all is as it was before), or "".
        """
        scratch = self.path / "writing.ckpt"
        name = f"OCRNet_{self.config.model.backbone}_{progress.step}_rank0.ckpt"
        numbered = progress.step % self.config.checkpoint.interval == 0
        try:
            _write(scratch, parameters, {_PROGRESS: json.dumps(asdict(progress)), **_describe(self.config)})
            if is_best:
                _name_also(scratch, self.best)
            if numbered:
                _name_also(scratch, self.path / name)
            os.replace(scratch, self.latest)
            _sync_folder(self.path)
            for _, file in self.numbered()[: -self.config.checkpoint.keep] if numbered else []:
                file.unlink()
        except (OSError, ValueError, RuntimeError) as error:
            self._remove_halves()
            return _reason(error)
        return ""

    def _remove_halves(self) -> None:
        """Remove what a write that did not come to its end has left."""
        for file in (*self.path.glob("writing.*"), *self.path.glob("*.linking")):
            file.unlink(missing_ok=True)


def _set_aside(save_dir: Path) -> Path:
    """Move what an earlier run wrote to the first free `earlier.N` beside it."""
    aside = _free_name(str(save_dir / "earlier"))
    aside.mkdir()
    names = ("checkpoint", "train.log", "tensorboard", "config.yml")
    for path in (*(save_dir / name for name in names), *save_dir.glob("train_rank*.log")):
        if path.exists():
            path.rename(aside / path.name)
    return aside


def _free_name(stem: str) -> Path:
    """The first of stem.1, stem.2 ... that is not taken."""
    number = 1
    while (path := Path(f"{stem}.{number}")).exists():
        number += 1
    return path


def _write(path: Path, weights: Mapping[str, Tensor], texts: dict[str, str]) -> None:
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


def _describe(config: Config) -> dict[str, str]:
    return {_CLASSES: "\n".join(config.data.classes), _RECIPE: config.to_yaml()}


def _sync_folder(path: Path) -> None:
    """Bring new names of files to the disk, too; without it a power failure may bring the old ones back."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _reason(error: Exception) -> str:
    """Why writing failed. MindSpore wraps the system's error in one of its own."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__
    return error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())


def _name_also(file: Path, name: Path) -> None:
    """Give `file` a second name, atomically; a copy where the file system has no hard links."""
    scratch = name.with_suffix(".linking")
    scratch.unlink(missing_ok=True)
    try:
        os.link(file, scratch)
    except OSError:
        shutil.copyfile(file, scratch)
    os.replace(scratch, name)


def save_weights(path: Path, weights: dict[str, np.ndarray], config: Config | None = None) -> None:
    """Write weights alone, without training state, whole or not at all; with `config`, its classes and recipe too.

    Raises:
        UserError: the file cannot be written.
    """
    scratch = path.with_name(f".{path.stem}.writing.ckpt")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: Tensor(value) for name, value in weights.items()}
        _write(scratch, tensors, _describe(config) if config else {})
        os.replace(scratch, path)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot write this file: {_reason(error)}") from None
    finally:
        scratch.unlink(missing_ok=True)
        scratch.with_suffix(".tmp").unlink(missing_ok=True)  # MindSpore writes there first


def read_checkpoint(path: Path) -> dict[str, Parameter | str]:
    """{tensor name: parameter} and our own entries under `ocrnet.`.

    Raises:
        UserError: the file is missing.
        DamagedCheckpoint: it is damaged or no checkpoint, or it is ours and its checksum is wrong.
    """
    if not path.is_file():
        raise UserError(f"{path}: checkpoint not found")
    try:
        stored = ms.load_checkpoint(str(path))
        ours = any(name.startswith("ocrnet.") for name in stored)
        whole = not ours or stored.get(_CHECKSUM) == _checksum(stored)
    except Exception as error:  # MindSpore raises whatever its parser met
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DamagedCheckpoint(f"{path}: not a readable checkpoint, damaged or cut short? ({reason})") from None
    if not whole:
        raise DamagedCheckpoint(f"{path}: damaged: its content does not match its SHA-256")
    return stored


def load_weights(network: nn.Cell, path: Path, classes: list[str]) -> None:
    """Load all weights of `network` from a checkpoint of ours.

    Raises:
        UserError: as `read_checkpoint`, and when a tensor is missing or has another shape; all such tensors are named.
    """
    stored = read_checkpoint(path)
    trained_on, hint = str(stored.get(_CLASSES, "")).split("\n"), ""
    if len(trained_on) != len(classes) and trained_on != [""]:
        hint = f" It was trained for {len(trained_on)} classes, the recipe has {len(classes)}."
    _assign(network.parameters_dict(), stored, f"{path}: does not fit this recipe's network.{hint}")


def resume(parameters: dict[str, Parameter], path: Path) -> Progress:
    """Bring back weights, optimizer and loss scale from a training checkpoint, and say how far it had come.

    Raises:
        UserError: as `read_checkpoint`, and when it is of another network or no training checkpoint.
    """
    stored = read_checkpoint(path)
    if _PROGRESS not in stored:
        raise UserError(f"{path}: holds weights but no training state; use it with eval.py")
    mend = "resume with the recipe it began with (or fine-tune it with model.checkpoint)"
    _assign(parameters, stored, f"{path}: does not fit this recipe, {mend}")
    return Progress(**json.loads(stored[_PROGRESS]))


def load_backbone(backbone: nn.Cell, path: Path) -> None:
    """Load a backbone's ImageNet weights under mindcv's names; its classification head is left unused.

    Raises:
        UserError: as `read_checkpoint`, and when a tensor of the backbone is missing or has another shape.
    """
    if path.suffix != ".ckpt":
        raise UserError(f"model.pretrained {path}: make a .ckpt of it with scripts/convert_weights.py --backbone")
    parameters = {name.removeprefix("backbone."): value for name, value in backbone.parameters_dict().items()}
    _assign(parameters, read_checkpoint(path), f"model.pretrained {path}: does not fit this backbone")


def load_for_classes(network: nn.Cell, path: Path, classes: list[str]) -> str:
    """Load a whole network's weights to go on with other classes; say what was loaded and what starts fresh.

    The two classifiers keep the weights they have when their shapes differ, or the names of the classes in a
    checkpoint that knows them. All else must be there.

    Raises:
        UserError: as `read_checkpoint`, and when another tensor is missing or has another shape.
    """
    stored = read_checkpoint(path)
    trained_on = str(stored.get(_CLASSES, "")).split("\n")
    parameters = network.parameters_dict()
    heads = {name: value for name, value in parameters.items() if ".classifier." in name}
    same = all(name in stored and stored[name].shape == value.shape for name, value in heads.items())
    fresh = [] if same and trained_on in (classes, [""]) else list(heads)
    kept = {name: value for name, value in parameters.items() if name not in fresh}
    _assign(kept, stored, f"model.checkpoint {path}: does not fit this network")
    if not fresh:
        return f"{path}: all {len(parameters)} tensors loaded, the classifiers with them"
    before = len(trained_on) if trained_on != [""] else stored[fresh[0]].shape[0] if fresh[0] in stored else "other"
    return (
        f"{path}: {len(parameters) - len(fresh)} tensors loaded; fresh for {len(classes)} classes instead of {before}: "
        + ", ".join(fresh)
    )


def _assign(parameters: dict[str, Parameter], stored: dict[str, Parameter | str], complaint: str) -> None:
    """Set all parameters, or none: raises UserError with `complaint` and what does not fit."""
    if problems := misfits({name: parameter.shape for name, parameter in parameters.items()}, stored):
        raise UserError(complaint, problems)
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(stored[name].asnumpy(), parameter.dtype))


def misfits(wanted: Mapping[str, tuple[int, ...]], stored: Mapping[str, Any]) -> list[str]:
    """A line for each of the `wanted` tensors, {name: shape}, that is not in `stored` or has another shape there."""
    problems = []
    for name, shape in wanted.items():
        if name not in stored:
            problems.append(f"{name}: missing in the file, shape {tuple(shape)} in the network")
        elif tuple(stored[name].shape) != tuple(shape):
            problems.append(f"{name}: shape {tuple(stored[name].shape)} in the file, {tuple(shape)} in the network")
    return problems
