"""One run at a time locks `save_dir`, and a killed process leaves no lock."""

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


def test_a_second_run_is_refused_with_the_lock_holder_and_a_killed_run_leaves_no_lock(tmp_path):
    with holder(tmp_path) as process:
        for _ in range(2):  # a refused run changes nothing
            with pytest.raises(UserError, match=rf"in use by another run \(process {process.pid} on .*, started 20"):
                lock(tmp_path)
        process.kill()
    with lock(tmp_path) as file:
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text() and file.fileno()
    lock(tmp_path).close()


def test_an_unwritable_folder_is_named():
    with pytest.raises(UserError, match="save_dir /proc/run: cannot write here"):
        lock(Path("/proc/run"))
