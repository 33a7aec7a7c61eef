"""Jobs on ModelArts or OpenI: downloads the inputs before the job, uploads the outputs during and after it."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ocrnet.cloud import bucket
from ocrnet.cloud.once_per_node import once_per_node
from ocrnet.distributed.launcher import is_scheduler, ranks
from ocrnet.errors import UserError
from ocrnet.runtime import program

if TYPE_CHECKING:
    from ocrnet.config import Config

_LATEST = "checkpoint/latest.ckpt"
_NUMBERED = re.compile(r"checkpoint/.+_(\d+)_rank0\.ckpt")
_NOT_UPLOADED = re.compile(
    r"(^|/)\.|^earlier\.\d+/|^checkpoint/writing\.|\.linking$"
)  # hidden files, earlier runs, partial files


@contextlib.contextmanager
def job(args: Namespace, config: "Config") -> Iterator[tuple["Config", Callable[[], None]]]:
    """Download the inputs given by the flags, and upload `save_dir` at the end.

    Does nothing without --enable_modelarts True.

    Yields:
        `config` with the local paths of the inputs, and a function to call after each checkpoint, which uploads it in
        the background. In programs that use a trained network, sets `args.ckpt_path` to the file of --ckpt_url.

    Raises:
        UserError: an input is missing or cannot be downloaded; or the job succeeded, but the upload failed.
    """
    urls = [flag for flag in ("data_url", "train_url", "ckpt_url", "multi_data_url") if getattr(args, flag)]
    if urls and not args.enable_modelarts:
        raise UserError(f"--{urls[0]} needs --enable_modelarts True")
    with contextlib.ExitStack() as stack:
        if urls and not is_scheduler():
            config = stack.enter_context(_inputs(args, config))
        if not bucket.is_url(args.train_url) or is_scheduler() or not ranks().is_main:
            yield config, lambda: None
            return
        outputs = _Outputs(config.save_dir, args.train_url)
        try:
            yield config, outputs.request_upload
        except BaseException:
            try:
                outputs.finish()
            except Exception as error:  # must not hide the error of the job
                print(f"error: the outputs in {config.save_dir} were not uploaded: {error}", file=sys.stderr)
            raise
        outputs.finish()


@contextlib.contextmanager
def _inputs(args: Namespace, config: "Config") -> Iterator["Config"]:
    data_dir, trains = Path(args.data_dir), hasattr(args, "resume_ckpt")
    downloads: list[tuple[str, Path]] = []

    def local(place: str, folder: Path) -> Path:
        """Returns `folder` for a URL, which is downloaded later; returns a path, filled by the platform, unchanged."""
        if bucket.is_url(place):
            downloads.append((place, folder))
            return folder
        if not Path(place).exists():
            raise UserError(f"{place}: neither obs://, s3:// nor an existing path")
        return Path(place)

    if args.multi_data_url:
        roots = [local(url, data_dir / name) for name, url in _data_sets(args.multi_data_url)]
        config = config.replace({"data.root": roots[0] if len(roots) == 1 else data_dir})
    elif args.data_url:
        config = config.replace({"data.root": local(args.data_url, data_dir)})
    # one folder per URL: the weights of an earlier job must not be used for this one
    weights_dir = data_dir.with_name("ckpt") / args.ckpt_url.partition("://")[2]
    weights = local(args.ckpt_url, weights_dir) if args.ckpt_url else None
    if args.train_url and not bucket.is_url(args.train_url):
        config = config.replace({"save_dir": Path(args.train_url)})  # the platform uploads it

    def fetch() -> None:
        if trains and bucket.is_url(args.train_url) and ranks().is_main:  # only rank 0 reads checkpoints
            _download_run(args.resume_ckpt, args.train_url, config.save_dir)
        for url, folder in downloads:
            bucket.download(url, folder)

    with once_per_node(fetch, (args.data_url, args.multi_data_url, args.train_url, args.data_dir, config.save_dir)):
        if weights and trains:
            config = config.replace({"model.pretrained": _checkpoint(weights)})
        elif weights:
            args.ckpt_path = _checkpoint(weights)
        yield config


def _data_sets(text: str) -> list[tuple[str, str]]:
    """Parse OpenI's --multi_data_url to (name, URL)."""
    try:
        found = [(entry["dataset_name"], entry["dataset_url"]) for entry in json.loads(text)]
        if found and all(re.fullmatch(r"[^/]*[^/.][^/]*", name) for name, _ in found):
            return found
    except (ValueError, TypeError, KeyError):
        pass
    raise UserError(
        f'--multi_data_url {text}: write [{{"dataset_name": "NAME", "dataset_url": "s3://BUCKET/FOLDER"}}, ...]'
    )


def _download_run(resume: str | None, url: str, save_dir: Path) -> None:
    """Download the run in the bucket if it will be resumed and is further than the local one."""
    stored = bucket.list_files(url)
    if not resume and _LATEST in stored:
        raise UserError(f"{url}: has a run. Resume it with --resume_ckpt auto, or choose another --train_url.")
    local = _output_files(save_dir)
    further = max(_steps(stored), default=0) > max(_steps(local), default=0)
    if resume == "auto" and _LATEST in stored and (further or _LATEST not in local):
        bucket.download(url, save_dir)


def _steps(names: Iterable[str]) -> list[int]:
    """Returns the steps of the numbered checkpoints in `names`."""
    return [int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name))]


def _output_files(save_dir: Path, since: int = 0) -> set[str]:
    """Returns the files of a run to upload that were written or renamed since a time in ns."""
    found = set()
    for file in save_dir.rglob("*"):
        name = file.relative_to(save_dir).as_posix()
        with contextlib.suppress(FileNotFoundError):  # old checkpoints may be deleted meanwhile
            if file.is_file() and not _NOT_UPLOADED.search(name) and file.stat().st_ctime_ns >= since:
                found.add(name)
    return found


def _checkpoint(place: Path) -> Path:
    """Returns the checkpoint of --ckpt_url: a file, the best checkpoint of a run, or the only one in a folder."""
    bests = [file for file in (place / "best.ckpt", place / "checkpoint" / "best.ckpt") if file.is_file()]
    found = [place] if place.is_file() else bests[:1] or sorted(place.glob("*.ckpt"))
    if len(found) != 1:
        listed = ", ".join(file.name for file in found) or "none"
        raise UserError(f"--ckpt_url: found {listed} instead of one checkpoint. Give the URL of one .ckpt file.")
    return found[0]


class _Outputs:
    """Uploads a run after each checkpoint and at the end.

    During training a low-priority process uploads, so that neither the GIL nor CPU load delays a step.
    """

    def __init__(self, save_dir: Path, url: str) -> None:
        self.save_dir, self.url = save_dir, url
        self._due, self._finished = threading.Event(), False
        self._thread = threading.Thread(target=self._upload_when_due, daemon=True)
        self._thread.start()

    def request_upload(self) -> None:
        self._due.set()

    def finish(self) -> None:
        """Upload all remaining files. Raises UserError."""
        self._finished = True
        self._due.set()
        self._thread.join()
        if self.save_dir.is_dir():
            _upload(self.save_dir, self.url)

    def _upload_when_due(self) -> None:
        since = 0
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        while self._due.wait() and not self._finished:
            self._due.clear()
            began = time.time_ns() - 10**9  # one second of tolerance for coarse clocks
            command = [sys.executable, "-m", "ocrnet.cloud.modelarts", str(self.save_dir), self.url, str(since)]
            pipe, null = subprocess.PIPE, subprocess.DEVNULL  # its stdin closes when this process dies
            with subprocess.Popen(command, stdin=pipe, stdout=null, stderr=pipe, env=environment, text=True) as sender:
                message = sender.stderr.read().rpartition("error: ")[2].strip()
            if sender.returncode:
                print(f"\nwarning: a checkpoint was not uploaded; the next upload retries: {message}", file=sys.stderr)
            else:
                since = began


def _upload(save_dir: Path, url: str, since: int = 0) -> None:
    """Upload changed files, `latest` last, and delete numbered checkpoints older than the local ones."""
    oldest = min(_steps(_output_files(save_dir)), default=0)

    def outdated(stored: set[str]) -> list[str]:
        return [name for name in stored if any(step < oldest for step in _steps([name]))]

    bucket.upload(save_dir, _output_files(save_dir, since), url, _LATEST, outdated)


def _in_background() -> None:
    """python -m ocrnet.cloud.modelarts SAVE_DIR URL SINCE"""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # only CPU time that the training does not use
    bucket.throttle()
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    _upload(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))


if __name__ == "__main__":
    sys.exit(program.run(_in_background))
