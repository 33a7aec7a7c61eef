"""Checkpoints of a run: MindSpore .ckpt files that hold all it needs to go on, written so that none is ever lost."""

import json
import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mindspore import Parameter

from ocrnet.config import Config
from ocrnet.errors import UserError
from ocrnet.weights import DamagedCheckpoint, assign, cause, describe, read_checkpoint, write

_PROGRESS = "ocrnet.progress"


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
            write(scratch, parameters, {_PROGRESS: json.dumps(asdict(progress)), **describe(self.config)})
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
            return cause(error)
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


def _sync_folder(path: Path) -> None:
    """Bring new names of files to the disk, too; without it a power failure may bring the old ones back."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _name_also(file: Path, name: Path) -> None:
    """Give `file` a second name, atomically; a copy where the file system has no hard links."""
    scratch = name.with_suffix(".linking")
    scratch.unlink(missing_ok=True)
    try:
        os.link(file, scratch)
    except OSError:
        shutil.copyfile(file, scratch)
    os.replace(scratch, name)


def resume(parameters: dict[str, Parameter], path: Path) -> Progress:
    """Bring back weights, optimizer and loss scale from a training checkpoint, and say how far it had come.

    Raises:
        UserError: as `read_checkpoint`, and when it is of another network or no training checkpoint.
    """
    stored = read_checkpoint(path)
    if _PROGRESS not in stored:
        raise UserError(f"{path}: holds weights but no training state; use it with eval.py")
    mend = "resume with the recipe it began with (or fine-tune it with model.checkpoint)"
    assign(parameters, stored, f"{path}: does not fit this recipe, {mend}")
    return Progress(**json.loads(stored[_PROGRESS]))
