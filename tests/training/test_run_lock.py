"""A folder of results has one owner at a time, and a process that dies owns nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocrnet.errors import UserError
from ocrnet.training.run_lock import lock

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
HOLD = """
import sys, pathlib, ocrnet.training.run_lock
file = ocrnet.training.run_lock.lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
input()
"""


def holder(folder: Path) -> subprocess.Popen:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=pipe, stdout=pipe, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_is_refused_and_told_who_has_the_folder_and_a_killed_one_leaves_no_lock(tmp_path):
    with holder(tmp_path) as process:
        for _ in range(2):  # being refused changes nothing
            with pytest.raises(UserError, match=rf"in use by another run \(process {process.pid} on .*, started 20"):
                lock(tmp_path)
        process.kill()
    with lock(tmp_path) as file:
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text() and file.fileno()
    lock(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_named():
    with pytest.raises(UserError, match="save_dir /proc/run: cannot write here"):
        lock(Path("/proc/run"))
