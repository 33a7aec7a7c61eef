"""Checkpoints: one MindSpore .ckpt file that holds all that a run needs to go on, and weights from elsewhere."""

import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from ocrnet.config import Config
from ocrnet.errors import UserError

_CLASSES, _RECIPE = "ocrnet.classes", "ocrnet.recipe"


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    samples: int = 0
    """Samples seen by all ranks together: the position in the data."""
    best_miou: float = -1.0
    """Best validation mIoU so far; -1 before the first."""
    skipped: int = 0
    """Steps without an update because gradients overflowed."""


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
            if self.latest.exists() and not resuming:
                aside = _set_aside(self.config.save_dir)
                moved = f"an earlier run was here; it is now in {aside} (--resume_ckpt auto would have gone on with it)"
            self.path.mkdir(parents=True, exist_ok=True)
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

    def save(self, parameters: dict[str, Parameter], progress: Progress, is_best: bool) -> None:
        """Write `latest`, name it `best` too and, every `checkpoint.interval` steps, by its number; then prune."""
        scratch = self.path / "writing.ckpt"
        scratch.unlink(missing_ok=True)
        ms.save_checkpoint(
            [{"name": name, "data": parameter} for name, parameter in parameters.items()],
            str(scratch),
            append_dict={
                **{f"ocrnet.{key}": value for key, value in asdict(progress).items()},
                _CLASSES: "\n".join(self.config.data.classes),
                _RECIPE: self.config.to_yaml(),
            },
        )
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(scratch, self.latest)
        if is_best:
            _name_also(self.latest, self.best)
        if progress.step % self.config.checkpoint.interval == 0:
            _name_also(self.latest, self.path / f"OCRNet_{self.config.model.backbone}_{progress.step}_rank0.ckpt")
            for _, file in self.numbered()[: -self.config.checkpoint.keep]:
                file.unlink()


def _set_aside(save_dir: Path) -> Path:
    """Move what an earlier run wrote to the first free `earlier.N` beside it."""
    number = 1
    while (aside := save_dir / f"earlier.{number}").exists():
        number += 1
    aside.mkdir()
    for name in ("checkpoint", "train.log", "tensorboard", "config.yml"):
        if (save_dir / name).exists():
            (save_dir / name).rename(aside / name)
    return aside


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
        ms.save_checkpoint(
            [{"name": name, "data": Tensor(value)} for name, value in weights.items()],
            str(scratch),
            append_dict={_CLASSES: "\n".join(config.data.classes), _RECIPE: config.to_yaml()} if config else None,
        )
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot write this file: {' '.join(str(error).split())}") from None
    finally:
        scratch.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Parameter | str]:
    """{tensor name: parameter} and our own entries under `ocrnet.`.

    Raises:
        UserError: the file is missing, damaged or no checkpoint.
    """
    if not path.is_file():
        raise UserError(f"{path}: checkpoint not found")
    try:
        return ms.load_checkpoint(str(path))
    except Exception as error:  # MindSpore raises whatever its parser met
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: not a readable checkpoint, damaged or cut short? ({reason})") from None


def load_weights(network: nn.Cell, path: Path, classes: list[str]) -> None:
    """Load all weights of `network` from a checkpoint of ours.

    Raises:
        UserError: as `read_checkpoint`, and when a tensor is missing or has another shape; all such tensors are named.
    """
    stored = read_checkpoint(path)
    problems = _assign(network.parameters_dict(), stored)
    if problems:
        trained_on = str(stored.get(_CLASSES, "")).split("\n")
        hint = ""
        if len(trained_on) != len(classes) and trained_on != [""]:
            hint = f" It was trained for {len(trained_on)} classes, the recipe has {len(classes)}."
        raise UserError(f"{path}: does not fit this recipe's network.{hint}\n  " + "\n  ".join(problems))


def resume(parameters: dict[str, Parameter], path: Path) -> Progress:
    """Bring back weights, optimizer and loss scale from a training checkpoint, and say how far it had come.

    Raises:
        UserError: as `read_checkpoint`, and when it is of another network or no training checkpoint.
    """
    stored = read_checkpoint(path)
    if "ocrnet.step" not in stored:
        raise UserError(f"{path}: holds weights but no training state; use it with eval.py")
    problems = _assign(parameters, stored)
    if problems:
        raise UserError(
            f"{path}: does not fit this recipe, resume with the recipe it began with\n  " + "\n  ".join(problems)
        )
    entries = {key: stored[f"ocrnet.{key}"] for key in asdict(Progress())}
    return Progress(**{key: value.asnumpy().item() for key, value in entries.items()})


def load_backbone(backbone: nn.Cell, path: Path) -> None:
    """Load a backbone's ImageNet weights under mindcv's names; its classification head is left unused.

    Raises:
        UserError: as `read_checkpoint`, and when a tensor of the backbone is missing or has another shape.
    """
    if path.suffix != ".ckpt":
        raise UserError(f"model.pretrained {path}: make a .ckpt of it with scripts/convert_weights.py --backbone")
    parameters = {name.removeprefix("backbone."): value for name, value in backbone.parameters_dict().items()}
    problems = _assign(parameters, read_checkpoint(path))
    if problems:
        raise UserError(f"model.pretrained {path}: does not fit this backbone\n  " + "\n  ".join(problems))


def _assign(parameters: dict[str, Parameter], stored: dict[str, Parameter | str]) -> list[str]:
    """Set all parameters, or none and say why not, one line a tensor (20 at most)."""
    problems = []
    for name, parameter in parameters.items():
        value = stored.get(name)
        if value is None:
            problems.append(f"{name}: missing in the file")
        elif tuple(value.shape) != tuple(parameter.shape):
            problems.append(f"{name}: shape {tuple(value.shape)} in the file, {tuple(parameter.shape)} in the network")
    if problems:
        return problems[:20] + ([f"and {len(problems) - 20} more"] if len(problems) > 20 else [])
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(stored[name].asnumpy(), parameter.dtype))
    return []
