"""Starts trainings at random moments in the same folder: at most one may write, and a killed one leaves no lock.

    python tests/faults/two_runs.py --starts 20

Some runs that hold the lock are killed with SIGKILL, the others end normally. Each start has a different learning rate,
which shows in the log which run has written it. About three minutes on two cores.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kill_and_resume import ROOT, make_data

FLAGS = (
    "--config config/ocrnet/ocrnet_demo.yml --ms_mode 1 --batch_size 2 --log_interval 1 --total_step 40 "
    "--run_eval False --set model.head_channels=16 --set model.key_channels=8 --set model.context_channels=16 "
    "--set data.crop_size=[32,64] --set data.workers=1 --set schedule.kind=constant --set schedule.warmup_steps=0 "
    "--set checkpoint.interval=10"
)


class Start:
    """A training process and its output."""

    def __init__(self, number: int, data: Path, folder: Path) -> None:
        self.rate = f"{0.001 + number * 1e-6:.8f}"
        self.output = folder.parent / f"start{number}.txt"
        command = [sys.executable, "train.py", *FLAGS.split(), "--lr_init", self.rate]
        command += ["--dataset_dir", str(data), "--save_dir", str(folder)]
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)

    def outcome(self) -> str:
        status, printed = self.process.returncode, self.output.read_text()
        if status == 2 and "in use by another run (process " in printed:
            return "refused"
        return {0: "done", -9: "killed"}.get(status, f"FAILED with {status}: {printed[-300:]}")


def writers(folder: Path) -> set[str]:
    """Returns the learning rates of each log with more than one: two runs have written it."""
    logs = [folder / "train.log", *folder.glob("earlier.*/train.log")]
    rates = [set(re.findall(r"cur_lr: ([\d.]+)", log.read_text())) for log in logs if log.exists()]
    return {" and ".join(sorted(found)) for found in rates if len(found) > 1}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as place:
        data, folder = make_data(Path(place), 12), Path(place) / "run"
        starts: list[Start] = []
        for number in range(args.starts):
            starts.append(Start(number, data, folder))
            time.sleep(rng.uniform(0, 4))
            owner = next((s for s in starts if (folder / ".lock").exists() and s.process.poll() is None
                          and f"process {s.process.pid} " in (folder / ".lock").read_text()), None)  # fmt: skip
            if owner and rng.random() < 0.3:
                owner.process.kill()
                owner.process.wait()
        for start in starts:
            start.process.wait()
        last = Start(args.starts, data, folder)
        last.process.wait()
        outcomes = [start.outcome() for start in starts]
        counts = {kind: sum(outcome.startswith(kind) for outcome in outcomes)
                  for kind in ("done", "refused", "killed", "FAILED")}  # fmt: skip
        mixed = writers(folder)
        print("\n".join(f"{number}: {outcome}" for number, outcome in enumerate(outcomes)))
        print(f"{counts}; logs with two writers: {len(mixed)}; a final start: {last.outcome()}")
        return int(bool(mixed) or counts["FAILED"] > 0 or last.outcome() != "done")


if __name__ == "__main__":
    sys.exit(main())
