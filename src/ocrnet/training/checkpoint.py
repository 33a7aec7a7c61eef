"""Checkpoints of a run: MindSpore .ckpt files with all that a resume needs, written so that none is ever lost."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

from mindspore import Parameter

from ocrnet.config import Config, compatibility
from ocrnet.errors import UserError
from ocrnet.training.run_lock import lock
from ocrnet.training.run_progress import Progress
from ocrnet.weights.ckpt import CONFIG, DamagedCheckpoint, assign, cause, describe, read_checkpoint, write

_PROGRESS = "ocrnet.progress"


class CheckpointFolder:
    """`latest.ckpt`, `best.ckpt` and numbered checkpoints of one run, under `<save_dir>/checkpoint`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.path = config.save_dir / "checkpoint"
        self.latest = self.path / "latest.ckpt"
        self.best = self.path / "best.ckpt"

    def open(self, resume_from: str | None, parameters: dict[str, Parameter]) -> tuple[Progress, list[str]]:
        """Lock `save_dir` and make it ready, for a new run or for one that is resumed.

        Args:
            resume_from: None: an earlier run in `save_dir` is set aside. A checkpoint: `parameters` are loaded from it,
                and what was saved after it is set aside. "auto": the newest checkpoint, if there is one.

        Returns:
            the position of the run, and what was done, a line each.

        Raises:
            UserError: another run has `save_dir`, it cannot be written, or the checkpoint cannot be resumed.
        """
        self._lock = lock(self.config.save_dir)
        try:
            return self._open(resume_from, parameters)
        except BaseException as error:
            self._lock.close()
            if isinstance(error, OSError):
                reason = f"cannot write here: {error.strerror}. Choose another --save_dir."
                raise UserError(f"save_dir {self.config.save_dir}: {reason}") from None
            raise

    def _open(self, resume_from: str | None, parameters: dict[str, Parameter]) -> tuple[Progress, list[str]]:
        if resume_from == "auto":
            progress, notes = self._resume_newest(parameters)
        elif resume_from:
            progress, notes = self._resume_from(Path(resume_from), parameters)
        else:
            progress, notes = Progress(), self._set_earlier_run_aside()
        self.path.mkdir(parents=True, exist_ok=True)
        self._remove_partial_files()
        probe = self.path / ".writable"
        probe.touch()
        probe.unlink()
        return progress, notes

    def numbered(self) -> list[tuple[int, Path]]:
        """(step, file) of the numbered checkpoints, oldest first."""
        return _numbered(self.path)

    def _newest_first(self) -> list[Path]:
        """What --resume_ckpt auto tries, in this order: `latest`, the numbered ones, `best`."""
        numbered = [file for _, file in reversed(self.numbered())]
        return [file for file in (self.latest, *numbered, self.best) if file.exists()]

    def _resume_newest(self, parameters: dict[str, Parameter]) -> tuple[Progress, list[str]]:
        """Resume from the newest checkpoint that is whole. Damaged ones are named and set aside.

        Without any, the newest earlier run that has some is brought back: a start without --resume_ckpt had set it
        aside. Files are renamed only after a good checkpoint was found, so that trouble of the machine moves nothing.
        """
        damaged: list[tuple[Path, DamagedCheckpoint]] = []
        for file in self._newest_first():
            try:
                progress, note = resume(parameters, file, self.config)
            except DamagedCheckpoint as error:
                damaged.append((file, error))
                continue
            for bad, error in damaged:
                aside = _unused_path(f"{bad}.damaged")
                bad.rename(aside)
                print(f"warning: {error}\n  set aside as {aside}, trying the one before", file=sys.stderr)
            return progress, [f"resuming from {file} after step {progress.step}", *([note] if note else [])]
        if damaged:
            raise UserError(
                f"{self.path}: none of the {len(damaged)} checkpoints can be read, so nothing was started or moved. "
                "Bring back a copy, or start anew without --resume_ckpt",
                [str(error) for _, error in damaged],
            )
        if earlier := self._earlier_run():
            notes = self._set_earlier_run_aside()
            for path in list(earlier.iterdir()):
                path.rename(self.config.save_dir / path.name)
            earlier.rmdir()
            notes.append(f"no checkpoint in {self.path}, but an earlier run was in {earlier}: it is brought back")
            progress, found = self._resume_newest(parameters)
            return progress, [*notes, *found]
        return Progress(), [
            f"no checkpoint in {self.path} yet: starting from the beginning",
            *self._set_earlier_run_aside(),
        ]

    def _earlier_run(self) -> Path | None:
        """The newest folder `earlier.N` of a run that has checkpoints."""
        found = [(int(path.suffix[1:]), path) for path in self.config.save_dir.glob("earlier.*[0-9]")]
        runs = [entry for entry in found if any((entry[1] / "checkpoint").glob("*.ckpt"))]
        return max(runs)[1] if runs else None

    def _resume_from(self, path: Path, parameters: dict[str, Parameter]) -> tuple[Progress, list[str]]:
        """Resume from one checkpoint, which becomes `latest`. What this folder has of later steps is set aside."""
        progress, note = resume(parameters, path, self.config)
        notes = [f"resuming from {path} after step {progress.step}", *([note] if note else [])]
        best = _find_best(progress, path)
        if path.resolve().parent == self.path.resolve():
            notes += self._set_later_steps_aside(path, progress.step)
        else:
            notes += self._set_earlier_run_aside()
            self.path.mkdir(parents=True, exist_ok=True)
            _link_or_copy(path, self.latest)
        if best:
            _link_or_copy(best, self.best)
        elif progress.best_step or progress.best_miou >= 0:
            notes.append(
                f"the network of the best mIoU before this step ({100 * progress.best_miou:.2f} %) is not there any "
                "more: the next evaluation sets a new best"
            )
            progress.best_miou, progress.best_step = -1.0, 0
        return progress, notes

    def _set_later_steps_aside(self, path: Path, step: int) -> list[str]:
        """Move checkpoints after `step` to a folder `earlier.N`, with a copy of the logs, which are cut at `step`."""
        later = [file for number, file in self.numbered() if number > step]
        later += [file for file in (self.latest, self.best) if file.exists() and _step_of(file) > step]
        if not later:
            _link_or_copy(path, self.latest)
            return []
        aside = _unused_path(str(self.config.save_dir / "earlier"))
        (aside / "checkpoint").mkdir(parents=True)
        for name in ("train.log", "config.yml"):
            if (self.config.save_dir / name).exists():
                shutil.copy2(self.config.save_dir / name, aside / name)
        if (self.config.save_dir / "tensorboard").is_dir():
            shutil.copytree(self.config.save_dir / "tensorboard", aside / "tensorboard")
        if self.latest in later:
            # `latest` changes in one moment: a kill in between leaves either branch whole
            _link_or_copy(self.latest, aside / "checkpoint" / self.latest.name)
            later.remove(self.latest)
        _link_or_copy(path, self.latest)
        for file in later:
            file.rename(aside / "checkpoint" / file.name)
        return [f"what was saved after step {step} is now in {aside}"]

    def _set_earlier_run_aside(self) -> list[str]:
        """Move what an earlier run wrote to a folder `earlier.N`; say so, if there was one."""
        save_dir = self.config.save_dir
        checkpoints = self._newest_first()
        if not checkpoints and not (save_dir / "train.log").exists():
            return []
        aside = _unused_path(str(save_dir / "earlier"))
        aside.mkdir()
        names = ("checkpoint", "train.log", "tensorboard", "config.yml")
        for path in (*(save_dir / name for name in names), *save_dir.glob("train_rank*.log")):
            if path.exists():
                path.rename(aside / path.name)
        hint = " (--resume_ckpt auto would have resumed it)" if checkpoints else ""
        return [f"an earlier run was here; it is now in {aside}{hint}"]

    def save(self, parameters: dict[str, Parameter], progress: Progress, is_best: bool) -> str:
        """Write `latest`, name it `best` too and, every `checkpoint.interval` steps, by its number; then prune.

        `latest` gets its name last: a run that is killed in between is resumed from the one before and does the same
        again.

        Returns:
            why nothing could be written (then all is as it was before), or "".
        """
        scratch = self.path / "writing.ckpt"
        name = f"OCRNet_{self.config.model.backbone}_{progress.step}_rank0.ckpt"
        numbered = progress.step % self.config.checkpoint.interval == 0
        try:
            write(scratch, parameters, {_PROGRESS: json.dumps(progress.to_dict()), **describe(self.config)})
            if is_best:
                _link_or_copy(scratch, self.best)
            if numbered:
                _link_or_copy(scratch, self.path / name)
            os.replace(scratch, self.latest)
            _sync_folder(self.path)
            for _, file in self.numbered()[: -self.config.checkpoint.keep] if numbered else []:
                file.unlink()
        except (OSError, ValueError, RuntimeError) as error:
            self._remove_partial_files()
            return cause(error)
        return ""

    def _remove_partial_files(self) -> None:
        """Remove what a write that was interrupted has left."""
        for file in (*self.path.glob("writing.*"), *self.path.glob("*.linking")):
            file.unlink(missing_ok=True)


def resume(parameters: dict[str, Parameter], path: Path, config: Config) -> tuple[Progress, str]:
    """Load weights, optimizer and loss scale from a training checkpoint.

    Returns:
        the position of its run, and what differs in today's configuration without harm, in one line or "".

    Raises:
        UserError: as `read_checkpoint`, and when it is no training checkpoint, of another network, or was trained with
            another configuration of what must not change within a run.
    """
    stored = read_checkpoint(path)
    if _PROGRESS not in stored:
        raise UserError(f"{path}: holds weights but no training state; use it with eval.py")
    problems, note = compatibility.compare(path, str(stored.get(CONFIG, "")), config, "resume")
    fix = "resume with the config it began with (or fine-tune it with model.checkpoint)"
    assign(parameters, stored, f"{path}: does not fit this config, {fix}", problems)
    return Progress.from_dict(json.loads(stored[_PROGRESS])), note


def _find_best(progress: Progress, resumed: Path) -> Path | None:
    """The file of the run's best network at the time of the checkpoint `resumed`, which may be that one itself."""
    if progress.best_miou < 0:
        return None
    if progress.best_step == progress.step:
        return resumed
    best = resumed.with_name("best.ckpt")
    if best.exists():
        stored = _read_progress(best)
        # versions that stored no best_step: the score tells
        same = stored and (stored.step == progress.best_step or stored.best_miou == progress.best_miou)
        if same and stored.step <= progress.step:
            return best
    return next((file for step, file in _numbered(resumed.parent) if step == progress.best_step), None)


def _read_progress(path: Path) -> Progress | None:
    """The position in a checkpoint; None when it is damaged."""
    try:
        return Progress.from_dict(json.loads(read_checkpoint(path)[_PROGRESS]))
    except (DamagedCheckpoint, KeyError):
        return None


def _step_of(path: Path) -> int:
    progress = _read_progress(path)
    return progress.step if progress else sys.maxsize  # damaged: not to be resumed from by accident


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of the numbered checkpoints in a folder, oldest first."""
    pattern = re.compile(r"OCRNet_\w+?_(\d+)_rank0\.ckpt")
    found = [(pattern.fullmatch(file.name), file) for file in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(match[1]), file) for match, file in found if match)


def _unused_path(stem: str) -> Path:
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


def _link_or_copy(file: Path, name: Path) -> None:
    """Give `file` a second name, atomically; a copy where the file system has no hard links."""
    if name.exists() and file.samefile(name):
        return
    scratch = name.with_suffix(".linking")
    scratch.unlink(missing_ok=True)
    try:
        os.link(file, scratch)
    except OSError:
        shutil.copyfile(file, scratch)
    os.replace(scratch, name)
