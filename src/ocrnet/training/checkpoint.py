"""Checkpoints of a run: MindSpore .ckpt files with the full training state, written atomically."""

import json
import math
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from mindspore import Parameter

from ocrnet.config import Config, StoredConfig, compatibility
from ocrnet.errors import UserError
from ocrnet.training.run_lock import lock
from ocrnet.training.run_progress import Progress
from ocrnet.weights.ckpt import (
    CHECKSUM,
    CLASSES,
    CONFIG,
    RAW,
    UPDATES,
    VERSIONS,
    DamagedCheckpoint,
    assign,
    cause,
    describe,
    read_checkpoint,
    stored_config,
    write,
)

_PROGRESS = "ocrnet.progress"


class CheckpointFolder:
    """`latest.ckpt`, `best.ckpt` and numbered checkpoints of one run, under `<save_dir>/checkpoint`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.path = config.save_dir / "checkpoint"
        self.latest = self.path / "latest.ckpt"
        self.best = self.path / "best.ckpt"

    def open(self, resume_from: str | None, parameters: dict[str, Parameter]) -> tuple[Progress, list[str]]:
        """Lock `save_dir` and prepare it for a new or a resumed run.

        Args:
            resume_from: None: start a new run; an earlier run in `save_dir` moves to `earlier.N`. A checkpoint: load
                `parameters` from it; later checkpoints move to `earlier.N`. "auto": the newest checkpoint, if any.

        Returns:
            the position of the run, and messages about what was done.

        Raises:
            UserError: another run uses `save_dir`, it cannot be written, or the checkpoint cannot be resumed.
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
            progress, notes = Progress(), self._archive_earlier_run()
        self.path.mkdir(parents=True, exist_ok=True)
        self._remove_partial_files()
        probe = self.path / ".writable"
        probe.touch()
        probe.unlink()
        return progress, notes

    def numbered(self) -> list[tuple[int, Path]]:
        """Returns (step, file) of the numbered checkpoints, oldest first."""
        return _numbered(self.path)

    def _newest_first(self) -> list[Path]:
        """Returns the checkpoints in the order in which --resume_ckpt auto tries them: `latest`, numbered, `best`."""
        numbered = [file for _, file in reversed(self.numbered())]
        return [file for file in (self.latest, *numbered, self.best) if file.exists()]

    def _resume_newest(self, parameters: dict[str, Parameter]) -> tuple[Progress, list[str]]:
        """Resume from the newest intact checkpoint. Damaged ones are reported and renamed to `.damaged.N`.

        Without a checkpoint, restores the newest run with checkpoints from `earlier.N`, where a start without
        --resume_ckpt moved it. Renames files only after an intact checkpoint was found, so a failing disk or file
        system changes nothing.
        """
        damaged: list[tuple[Path, DamagedCheckpoint]] = []
        for file in self._newest_first():
            try:
                progress, note = resume(parameters, file, self.config)
            except DamagedCheckpoint as error:
                damaged.append((file, error))
                continue
            for bad, error in damaged:
                renamed = _unused_path(f"{bad}.damaged")
                bad.rename(renamed)
                print(f"warning: {error}\n  renamed to {renamed}, trying the previous checkpoint", file=sys.stderr)
            return progress, [f"resuming from {file} after step {progress.step}", *([note] if note else [])]
        if damaged:
            raise UserError(
                f"{self.path}: none of the {len(damaged)} checkpoints can be read, so nothing was started or moved. "
                "Restore a copy, or start a new run without --resume_ckpt",
                [str(error) for _, error in damaged],
            )
        if earlier := self._earlier_run():
            notes = self._archive_earlier_run()
            for path in list(earlier.iterdir()):
                path.rename(self.config.save_dir / path.name)
            earlier.rmdir()
            notes.append(f"no checkpoint in {self.path}, but an earlier run in {earlier}: it was restored")
            progress, found = self._resume_newest(parameters)
            return progress, [*notes, *found]
        return Progress(), [
            f"no checkpoint in {self.path} yet: starting from the beginning",
            *self._archive_earlier_run(),
        ]

    def _earlier_run(self) -> Path | None:
        """Returns the newest folder `earlier.N` that has checkpoints."""
        found = [(int(path.suffix[1:]), path) for path in self.config.save_dir.glob("earlier.*[0-9]")]
        runs = [entry for entry in found if any((entry[1] / "checkpoint").glob("*.ckpt"))]
        return max(runs)[1] if runs else None

    def _resume_from(self, path: Path, parameters: dict[str, Parameter]) -> tuple[Progress, list[str]]:
        """Resume from one checkpoint, which becomes `latest`. Checkpoints of later steps move to `earlier.N`."""
        progress, note = resume(parameters, path, self.config)
        notes = [f"resuming from {path} after step {progress.step}", *([note] if note else [])]
        best = _find_best(progress, path)
        if path.resolve().parent == self.path.resolve():
            notes += self._archive_later_steps(path, progress.step)
        else:
            notes += self._archive_earlier_run()
            self.path.mkdir(parents=True, exist_ok=True)
            _link_or_copy(path, self.latest)
        if best:
            _link_or_copy(best, self.best)
        elif progress.best:
            notes.append(
                f"the checkpoint of the best score before this step ({progress.best}) no longer exists"
                ": the next evaluation sets a new best"
            )
            progress.forget_best()
        return progress, notes

    def _archive_later_steps(self, path: Path, step: int) -> list[str]:
        """Move checkpoints after `step` to a folder `earlier.N`, with a copy of the logs before they are truncated."""
        later = [file for number, file in self.numbered() if number > step]
        later += [file for file in (self.latest, self.best) if file.exists() and _step_of(file) > step]
        if not later:
            _link_or_copy(path, self.latest)
            return []
        archive = _unused_path(str(self.config.save_dir / "earlier"))
        (archive / "checkpoint").mkdir(parents=True)
        for name in ("train.log", "config.yml"):
            if (self.config.save_dir / name).exists():
                shutil.copy2(self.config.save_dir / name, archive / name)
        if (self.config.save_dir / "tensorboard").is_dir():
            shutil.copytree(self.config.save_dir / "tensorboard", archive / "tensorboard")
        if self.latest in later:
            # `latest` is replaced atomically: after a kill in between, one of both branches is complete
            _link_or_copy(self.latest, archive / "checkpoint" / self.latest.name)
            later.remove(self.latest)
        _link_or_copy(path, self.latest)
        for file in later:
            file.rename(archive / "checkpoint" / file.name)
        return [f"checkpoints after step {step} are now in {archive}"]

    def _archive_earlier_run(self) -> list[str]:
        """Move the files of an earlier run, if any, to a folder `earlier.N`. Returns a message about it."""
        save_dir = self.config.save_dir
        checkpoints = self._newest_first()
        if not checkpoints and not (save_dir / "train.log").exists():
            return []
        archive = _unused_path(str(save_dir / "earlier"))
        archive.mkdir()
        names = ("checkpoint", "train.log", "tensorboard", "config.yml", "profile")
        for path in (*(save_dir / name for name in names), *save_dir.glob("train_rank*.log")):
            if path.exists():
                path.rename(archive / path.name)
        hint = " (--resume_ckpt auto would have resumed it)" if checkpoints else ""
        return [f"an earlier run was here; it is now in {archive}{hint}"]

    def save(self, parameters: dict[str, Parameter], progress: Progress, is_best: bool) -> str:
        """Write `latest`, `best` if `is_best`, and a numbered checkpoint every `checkpoint.interval` steps; then prune.

        `latest` is replaced last: a run that is killed in between resumes from the previous checkpoint and repeats the
        same steps.

        Returns:
            "", or why the checkpoint could not be written.
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
        """Remove the partial files of an interrupted write."""
        for file in (*self.path.glob("writing.*"), *self.path.glob("*.linking")):
            file.unlink(missing_ok=True)


def resume(parameters: dict[str, Parameter], path: Path, config: Config) -> tuple[Progress, str]:
    """Load weights, their average, optimizer and loss scale from a training checkpoint.

    Returns:
        the position of its run, and the harmless differences between its config and `config`, in one line or "".
        `train.ema` is one of them, see `_with_or_without_average`.

    Raises:
        UserError: as `read_checkpoint`; the file is no training checkpoint, has another network, or its config differs
            in keys that must not change within a run.
    """
    stored = read_checkpoint(path)
    if _PROGRESS not in stored:
        raise UserError(f"{path}: has weights but no training state; use it with eval.py")
    problems, note = compatibility.compare(path, str(stored.get(CONFIG, "")), config, "resume")
    fix = "resume with the config of that run (or fine-tune it with model.checkpoint)"
    stored, average = _with_or_without_average(parameters, stored)
    assign(parameters, stored, f"{path}: does not fit this config, {fix}", problems)
    note = "; ".join(filter(None, (note, average)))
    return Progress.from_dict(json.loads(stored[_PROGRESS])), note


def _with_or_without_average(
    parameters: dict[str, Parameter], stored: dict[str, Parameter | str]
) -> tuple[dict[str, Parameter | str], str]:
    """Returns the content of a checkpoint as a run needs it that turns `train.ema` on or off, and a note or "".

    A new average starts from the weights. Without it, a run continues with its own weights, not with their average.
    """
    if UPDATES in parameters and UPDATES not in stored:
        names = [name for name in parameters if name.startswith(RAW)]
        raw = {name: stored[name.removeprefix(RAW)] for name in names if name.removeprefix(RAW) in stored}
        return {**stored, **raw, UPDATES: parameters[UPDATES]}, "train.ema: the average starts from these weights"
    if UPDATES in stored and UPDATES not in parameters:
        raw = {name.removeprefix(RAW): value for name, value in stored.items() if name.startswith(RAW)}
        return {**stored, **raw}, "train.ema is off: training goes on with the weights, without their average"
    return stored, ""


def _find_best(progress: Progress, resumed: Path) -> Path | None:
    """Returns the file of the best checkpoint at the time of the checkpoint `resumed`; it may be `resumed` itself."""
    if progress.best_score is None:
        return None
    if progress.best_step == progress.step:
        return resumed
    best = resumed.with_name("best.ckpt")
    if best.exists():
        stored = _read_progress(best)
        # versions that did not store best_step: compare the score
        same = stored and (stored.step == progress.best_step or stored.best_score == progress.best_score)
        if same and stored.step <= progress.step:
            return best
    return next((file for step, file in _numbered(resumed.parent) if step == progress.best_step), None)


def _read_progress(path: Path) -> Progress | None:
    """Returns the position stored in a checkpoint; None if it is damaged."""
    try:
        return Progress.from_dict(json.loads(read_checkpoint(path)[_PROGRESS]))
    except (DamagedCheckpoint, KeyError):
        return None


def _step_of(path: Path) -> int:
    progress = _read_progress(path)
    return progress.step if progress else sys.maxsize  # damaged: must not be resumed by accident


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Returns (step, file) of the numbered checkpoints in a folder, oldest first."""
    pattern = re.compile(r"OCRNet_\w+?_(\d+)_rank0\.ckpt")
    found = [(pattern.fullmatch(file.name), file) for file in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(match[1]), file) for match, file in found if match)


def _unused_path(stem: str) -> Path:
    """Returns the first of stem.1, stem.2 ... that does not exist."""
    number = 1
    while (path := Path(f"{stem}.{number}")).exists():
        number += 1
    return path


def _sync_folder(path: Path) -> None:
    """Flush renames to disk; otherwise a power failure may undo them."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link_or_copy(file: Path, name: Path) -> None:
    """Create a hard link `name` to `file`, atomically; a copy where the file system has no hard links."""
    if name.exists() and file.samefile(name):
        return
    scratch = name.with_suffix(".linking")
    scratch.unlink(missing_ok=True)
    try:
        os.link(file, scratch)
    except OSError:
        shutil.copyfile(file, scratch)
    os.replace(scratch, name)


@dataclass
class Contents:
    """What a checkpoint holds besides the values of its tensors."""

    path: Path
    config: StoredConfig | None
    classes: list[str]
    parameters: int
    """Numbers in the tensors of the network, or in all tensors of another program's file."""
    progress: Progress | None
    """Position of the run; None if the file has weights only."""
    versions: str
    checksum: str

    def require_config(self) -> StoredConfig:
        """Returns the configuration. Raises UserError if the checkpoint has none."""
        if self.config is None:
            raise UserError(f"{self.path}: this checkpoint has no configuration")
        return self.config


def describe_checkpoint(path: Path) -> Contents:
    """Reads a checkpoint and verifies its checksum.

    Raises:
        UserError: see `read_checkpoint`.
    """
    stored = read_checkpoint(path)
    tensors = {name: value for name, value in stored.items() if isinstance(value, Parameter)}
    parts = ("backbone.", "aux_head.", "ocr_head.")
    network = {name: value for name, value in tensors.items() if name.startswith(parts)} or tensors
    text = {name: str(value) for name, value in stored.items() if not isinstance(value, Parameter)}
    return Contents(
        path,
        stored_config(path, stored) if CONFIG in text else None,
        text[CLASSES].split("\n") if CLASSES in text else [],
        sum(math.prod(value.shape) for name, value in network.items() if ".moving_" not in name),
        Progress.from_dict(json.loads(text[_PROGRESS])) if _PROGRESS in text else None,
        text.get(VERSIONS, ""),
        text.get(CHECKSUM, ""),
    )
