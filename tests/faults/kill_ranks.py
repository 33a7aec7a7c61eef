"""Kills ranks of a training with SIGKILL: the whole job must end, leave nothing behind, and resume.

    python tests/faults/kill_ranks.py --kills 20       # alternating ranks: in training, evaluation, checkpoint writing
    python tests/faults/kill_ranks.py --launches 30    # consecutive short jobs; none may fail
    python tests/faults/kill_ranks.py --terms 10       # SIGTERM to one rank: all save the same step and stop

Every kill and SIGTERM is followed by --resume_ckpt auto. Some kills are Ctrl-C at mpirun. Each takes 15 minutes on two
cores.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "distributed")]

from test_several_ranks import CONFIG_FILE, MPIRUN, TINY, loopback_only, losses, rank_pid

FLAGS = ["--config", CONFIG_FILE, *TINY, "--batch_size", "2", "--ms_mode", "1", "--set", "checkpoint.interval=4"]
FLAGS += ["--set", "train.sync_batch_norm=False"]  # ten times faster in PyNative mode, and irrelevant here
GRAPH_MODE = ["--ms_mode", "0"]  # many steps a second, so that a check of the ranks is not in each
EVALUATION = ["--run_eval", "True", "--set", "eval.interval=6"]


def start(data: Path, folder: Path, *flags: str) -> subprocess.Popen:
    """Start two ranks. An environment variable marks them and their scheduler as processes of this job."""
    command = [*loopback_only(), *MPIRUN, "--allow-run-as-root", "-n", "2", sys.executable, "train.py", *FLAGS, *flags]
    command += ["--dataset_dir", str(data), "--save_dir", str(folder)]
    output = (folder.parent / f"{folder.name}.txt").open("ab")
    environment = {**os.environ, "OCRNET_TEST_JOB": str(folder)}
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=environment)


def left_over(folder: Path) -> list[str]:
    """Returns the command lines of remaining processes of the job, and shared-memory files of MindSpore or OpenMPI."""
    found = [str(path) for path in Path("/dev/shm").iterdir() if path.is_file()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"OCRNET_TEST_JOB={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [name for name in found if name]


def reached(folder: Path, step: int) -> bool:
    return (folder / "train_rank1.log").exists() and len(losses(folder, "train_rank1.log")) >= step


def kill_in(phase: str, victim: int | None, data: Path, folder: Path) -> str:
    """Start, kill a rank (None: Ctrl-C at mpirun), wait for the end, resume. Returns a description of the result."""
    flags = ["--total_step", "400", *(EVALUATION if phase == "evaluation" else [])]
    job = start(data, folder, *flags)
    ready = {
        "training": lambda: reached(folder, 5),
        "evaluation": lambda: reached(folder, 6),
        "checkpoint": lambda: reached(folder, 4) and any((folder / "checkpoint").glob("writing.*")),
    }[phase]
    while job.poll() is None and not ready():
        time.sleep(0.005)
    if phase == "evaluation":
        time.sleep(0.5)
    if victim is None:
        job.send_signal(signal.SIGINT)
    else:
        os.kill(rank_pid(folder, victim), signal.SIGKILL)
    killed = time.monotonic()
    status = job.wait(timeout=120)
    seconds = time.monotonic() - killed
    time.sleep(1)
    remains = left_over(folder)
    again = start(data, folder, "--total_step", "14", "--resume_ckpt", "auto").wait(timeout=600)
    good = status != 0 and seconds < 60 and not remains and again == 0
    who = "Ctrl-C" if victim is None else f"rank {victim} killed"
    story = f"{who} in {phase}: status {status} after {seconds:.1f} s, left {remains or 'nothing'}, resumed: {again}"
    return story if good else f"BAD {story}"


def terminate(victim: int, wait: float, data: Path, folder: Path) -> str:
    """Start, send SIGTERM to a rank `wait` seconds after step 5, between two checks of the ranks; then resume.

    Returns a description of the result. Both ranks must end with the same step; the resumed run continues there.
    """
    job = start(data, folder, "--total_step", "4000", *GRAPH_MODE)
    while job.poll() is None and not reached(folder, 5):
        time.sleep(0.005)
    time.sleep(wait)
    os.kill(rank_pid(folder, victim), signal.SIGTERM)
    sent, step = time.monotonic(), len(losses(folder, "train_rank1.log"))
    status = job.wait(timeout=120)
    seconds = time.monotonic() - sent
    time.sleep(1)
    remains = left_over(folder)
    last = [len(losses(folder, log)) for log in ("train.log", "train_rank1.log")]
    flags = ["--total_step", str(last[0] + 2), "--resume_ckpt", "auto", *GRAPH_MODE]
    again = start(data, folder, *flags).wait(timeout=600)
    after = len(losses(folder))
    good = status == 128 + signal.SIGTERM and not remains and last[0] == last[1] and (again, after) == (0, last[0] + 2)
    story = f"SIGTERM to rank {victim} at step {step}: status {status} after {seconds:.1f} s, last steps {last}, "
    story += f"left {remains or 'nothing'}, resumed: {again}, then {after} steps"
    return story if good else f"BAD {story}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--launches", type=int, default=0)
    parser.add_argument("--terms", type=int, default=0)
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        make = [
            sys.executable,
            ROOT / "scripts" / "make_demo_data.py",
            "--output",
            data,
            "--train",
            "12",
            "--val",
            "40",
        ]
        subprocess.run([*make, "--val", "40", "--width", "128", "--height", "64"], check=True, capture_output=True)
        for number in range(args.kills):
            phase = ("training", "evaluation", "checkpoint")[number // 2 % 3]
            victim = None if number % 10 == 9 else number % 2
            story = kill_in(phase, victim, data, Path(scratch) / f"kill{number}")
            bad += story.startswith("BAD")
            print(f"{number + 1}/{args.kills} {story}", flush=True)
        for number in range(args.launches):
            folder, began = Path(scratch) / f"launch{number}", time.monotonic()
            status = start(data, folder, "--total_step", "2").wait(timeout=600)
            remains = left_over(folder)
            bad += bool(status or remains)
            seconds = time.monotonic() - began
            print(f"{number + 1}/{args.launches} status {status} after {seconds:.0f} s, left {remains or 'nothing'}")
        waits = random.Random(0)
        for number in range(args.terms):
            story = terminate(number % 2, waits.uniform(0, 3), data, Path(scratch) / f"term{number}")
            bad += story.startswith("BAD")
            print(f"{number + 1}/{args.terms} {story}", flush=True)
    sys.exit(f"{bad} failures" if bad else 0)


if __name__ == "__main__":
    main()
