"""Kills trainings with SIGKILL at random moments, resumes them, and compares the results with an uninterrupted run.

    python tests/faults/kill_and_resume.py --kills 30
    python tests/faults/kill_and_resume.py --kills 30 --all-options
    python tests/faults/kill_and_resume.py --kills 30 --changing

Each run is killed once, a third of them while writing a checkpoint, and resumes with --resume_ckpt auto and another
number of data workers. Weights, optimizer, loss scale, best score, logged losses and TensorBoard values must be bitwise
identical. Dropout and a dynamic loss scale are enabled. An epoch has three steps, so nearly every kill is within an
epoch. About fifteen minutes on two cores. --all-options turns on what else has a state, see `ALL_OPTIONS`.

With --changing a run is killed several times and resumed with another batch size, number of ranks (under mpirun) and
accumulated steps. The opened images are recorded: each epoch must show each image once, and the learning rate must
decrease.
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import mindspore as ms

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "distributed")]

from test_several_ranks import MPIRUN, loopback_only

STEPS = 40
FLAGS = (
    "--config config/ocrnet/ocrnet_demo.yml --batch_size 4 --log_interval 1 --ms_loss_scaler dynamic "
    f"--total_step {STEPS} --resume_ckpt auto --set model.head_channels=16 --set model.key_channels=8 "
    "--set model.context_channels=16 --set data.crop_size=[32,64] --set schedule.warmup_steps=2 "
    "--set train.loss_scale.window=3 --set checkpoint.interval=4 --set eval.interval=6 "
    "--set model.dropout=0.3 --set model.aux_dropout=0.2"
).split()

ALL_OPTIONS = (
    *("--set", "train.ema=0.9"),
    *("--set", "train.patience=100", "--set", "eval.best_by=loss", "--set", "eval.images=3"),
    *("--set", "optimizer.kind=adamw", "--set", "schedule.kind=cosine", "--set", "schedule.lr=0.001"),
    *("--set", "data.augment.rotation.degrees=30", "--set", "data.augment.vertical_flip=0.5"),
)
"""Further options with a state that a resume must restore; patience never ends the run."""


def make_data(folder: Path, images: int) -> Path:
    """Create a small demo data set in `folder` with `images` training images of 128 x 64."""
    script = [sys.executable, str(ROOT / "scripts" / "make_demo_data.py"), "--output", str(folder / "data")]
    size = ["--train", str(images), "--val", "5", "--width", "128", "--height", "64"]
    subprocess.run([*script, *size], check=True, stdout=subprocess.DEVNULL)
    return folder / "data"


def start(data: Path, folder: Path, workers: int, *flags: str) -> subprocess.Popen:
    """Start or resume train.py in `folder`."""
    command = [sys.executable, str(ROOT / "train.py"), *FLAGS, *flags, "--num_parallel_workers", str(workers)]
    command += ["--dataset_dir", str(data), "--save_dir", str(folder)]
    output = (folder.parent / f"{folder.name}.txt").open("ab")
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)


def finish(data: Path, folder: Path, workers: int, *flags: str) -> None:
    """Run to the end. Raises RuntimeError with the output if it fails."""
    if start(data, folder, workers, *flags).wait(timeout=600):
        raise RuntimeError((folder.parent / f"{folder.name}.txt").read_text())


def kill_somewhere(
    data: Path, folder: Path, workers: int, rng: random.Random, writing: bool, *flags: str, last: int = STEPS - 8
) -> str:
    """Start or resume a run and kill it: during a checkpoint write, or up to 300 ms after a step up to `last`.

    Returns a description.
    """
    log = folder / "train.log"
    first = (begun := reached(log)) and begun + 1  # a resumed run trains a new step and removes an old partial file
    step = rng.randint(first, max(first, last))
    process = start(data, folder, workers, *flags)
    while process.poll() is None and reached(log) < step:
        time.sleep(0.002)
    if writing:
        while process.poll() is None and not list((folder / "checkpoint").glob("writing.*")):
            time.sleep(0.0002)  # the other processes need the cores
    else:
        time.sleep(rng.uniform(0, 0.3))
    process.kill()
    if process.wait() != -9:
        return "ended before the kill"
    half = list((folder / "checkpoint").glob("writing.*"))
    return f"killed after step {reached(log)}" + (f", partial {half[0].name} on the disk" if half else "")


def reached(log: Path) -> int:
    """Returns the last step in a log."""
    steps = re.findall(r"^step (\d+)/", log.read_text(), re.MULTILINE) if log.exists() else []
    return int(steps[-1]) if steps else 0


def outcome(folder: Path) -> dict[str, object]:
    """Returns everything that must be identical, without times."""
    stored = ms.load_checkpoint(str(folder / "checkpoint" / "latest.ckpt"))
    best = ms.load_checkpoint(str(folder / "checkpoint" / "best.ckpt"))
    values = {name: value.asnumpy().tobytes() for name, value in stored.items() if hasattr(value, "asnumpy")}
    values |= {f"best {name}": value.asnumpy().tobytes() for name, value in best.items() if hasattr(value, "asnumpy")}
    log = (folder / "train.log").read_text()
    return {
        **values,
        "progress": stored["ocrnet.progress"],
        "log": re.sub(r", cost .*| in \d+ s", "", log),
        "tensorboard": tensorboard(folder / "tensorboard"),
    }


def tensorboard(folder: Path) -> list[tuple[int, str, float]]:
    """Returns (step, name, value) of all events in file order, except the speed."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            size = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + size])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            place += size + 16
    return [entry for entry in found if entry[1] != "images_per_second"]


def different(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Returns the names of the entries that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def trials(data: Path, where: Path, kills: int, seed: int, *flags: str) -> int:
    """Returns how many of `kills` runs equal the uninterrupted run."""
    finish(data, where / "uninterrupted", 1, *flags)
    expected, rng, same = outcome(where / "uninterrupted"), random.Random(seed), 0
    for number in range(1, kills + 1):
        folder = where / f"run{number}"
        first = rng.choice((1, 2))
        story = kill_somewhere(data, folder, first, rng, number % 3 == 0, *flags)
        finish(data, folder, 3 - first, *flags)
        differences = different(expected, outcome(folder))
        same += not differences and story.startswith("killed")
        verdict = f"DIFFERENT: {', '.join(differences[:5])}" if differences else "identical"
        print(f"{number}/{kills}: {first} worker(s), {story}; resumed with {3 - first}: {verdict}", flush=True)
    print(f"{same} of {kills} identical ({len(expected) - 3} tensors, log, best score and TensorBoard)")
    return same


EPOCHS = 4
CHANGING = (
    f"--config config/ocrnet/ocrnet_demo.yml --ms_mode 1 --log_interval 1 --run_eval False --resume_ckpt auto "
    f"--set train.epochs={EPOCHS} --set checkpoint.interval=1 --set model.head_channels=16 --set model.key_channels=8 "
    "--set model.context_channels=16 --set data.crop_size=[32,64] --set data.workers=1 --set schedule.warmup_steps=0"
).split()
# imported automatically by Python (sitecustomize): records the training images that each rank opens, in order
RECORDER = """
import os, sys
if sys.argv[0].endswith("train.py") or sys.argv[:1] == ["-c"]:
    def record(event, args, rank=os.environ.get("OMPI_COMM_WORLD_RANK", "0")):
        if event == "open" and isinstance(args[0], (str, os.PathLike)):
            path = os.fspath(args[0])
            if "leftImg8bit/train" in path:
                with OPEN(os.path.join(os.environ["OPENED"], rank), "a") as file:
                    file.write(os.path.basename(path) + "\\n")
    OPEN = open
    sys.addaudithook(record)
"""


class Changing:
    """A run that is killed and resumed with other batch sizes, ranks and accumulated steps."""

    def __init__(self, data: Path, folder: Path, rng: random.Random) -> None:
        self.data, self.folder, self.rng = data, folder, rng
        self.images = len(list((data / "leftImg8bit" / "train").rglob("*.png")))
        self.seen: Counter = Counter()
        (folder.parent / "site").mkdir(exist_ok=True)
        (folder.parent / "site" / "sitecustomize.py").write_text(RECORDER)

    def segment(self, kill: bool) -> str:
        """Start or resume the run until its end, or kill it after some steps. Counts the images of the saved steps."""
        batch, ranks, accumulated = self.rng.choice((1, 2, 3)), self.rng.choice((1, 2)), self.rng.choice((1, 2))
        opened = self.folder.parent / f"opened{time.monotonic_ns()}"
        opened.mkdir()
        command = [sys.executable, str(ROOT / "train.py"), *CHANGING, "--batch_size", str(batch)]
        command += ["--set", f"train.accumulate_steps={accumulated}"]
        command += ["--dataset_dir", str(self.data), "--save_dir", str(self.folder)]
        if ranks > 1:
            mpirun = [*loopback_only(), *MPIRUN, "--allow-run-as-root", "--oversubscribe", "-n", str(ranks)]
            command = [*mpirun, *command]
        environment = {**os.environ, "OPENED": str(opened), "PYTHONPATH": str(self.folder.parent / "site")}
        before, survives = self.position(), self.rng.randint(1, 4)
        with (self.folder.parent / "changing.txt").open("ab") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        while kill and process.poll() is None and self.position().get("step", 0) < before.get("step", 0) + survives:
            time.sleep(0.02)
        if kill:
            time.sleep(self.rng.uniform(0, 0.3))
            with contextlib.suppress(ProcessLookupError):  # it has already ended
                os.kill(
                    int((self.folder / ".lock").read_text().split()[1]), signal.SIGKILL
                )  # rank 0; mpirun ends the others
        if process.wait() not in (0, *((-9, 137) if kill else ())):
            raise RuntimeError((self.folder.parent / "changing.txt").read_text()[-2000:])
        self.count(before, self.position(), opened, batch * accumulated, ranks)
        return f"{batch}x{ranks}x{accumulated} to step {self.position().get('step', 0)}"

    def position(self) -> dict:
        """Returns the progress in the newest checkpoint."""
        file = self.folder / "checkpoint" / "latest.ckpt"
        for _ in range(20):
            if not file.exists():
                return {}
            try:
                return json.loads(ms.load_checkpoint(str(file))["ocrnet.progress"])
            except (ValueError, KeyError):  # replaced meanwhile
                time.sleep(0.05)
        raise RuntimeError(f"{file} cannot be read")

    def count(self, before: dict, after: dict, opened: Path, share: int, ranks: int) -> None:
        """Count the images of the steps between `before` and `after`. `share`: samples per rank and step."""
        lists = [
            (opened / str(rank)).read_text().split() if (opened / str(rank)).exists() else [] for rank in range(ranks)
        ]
        step = share * ranks
        epoch_size = self.images // step * step
        place = before.get("epoch", 0) * epoch_size + before.get("epoch_samples", 0)
        if before and before["epoch_samples"] >= epoch_size:
            place = (before["epoch"] + 1) * epoch_size
        for number in range(after.get("step", 0) - before.get("step", 0)):
            for names in lists:
                for name in names[number * share : (number + 1) * share]:
                    self.seen[place // epoch_size, name] += 1
                    place += 1

    def verdict(self) -> str:
        """Returns "" if each epoch has shown each image once; the images are a multiple of all step sizes."""
        epochs = Counter(epoch for epoch, _ in self.seen)
        wrong = [entry for entry, count in self.seen.items() if count > 1]
        short = {epoch: epochs[epoch] for epoch in range(EPOCHS) if epochs[epoch] != self.images}
        rates = [float(rate) for rate in re.findall(r"cur_lr: ([\d.]+)", (self.folder / "train.log").read_text())]
        falling = rates == sorted(rates, reverse=True)
        return (
            ""
            if not wrong and not short and falling
            else f"twice: {wrong[:3]}, incomplete: {short}, lr decreases: {falling}"
        )


def changing_trials(data: Path, where: Path, kills: int, seed: int) -> int:
    """Returns the number of kills in runs with complete epochs; five per run."""
    rng, good = random.Random(seed), 0
    for run in range(-(-kills // 5)):
        trial = Changing(data, where / f"changing{run}", rng)
        story = [trial.segment(kill=True) for _ in range(5)]
        story.append(trial.segment(kill=False))
        verdict = trial.verdict()
        good += 0 if verdict else 5
        print(f"run {run}: {', '.join(story)}: {verdict or 'each image once per epoch'}", flush=True)
    good = min(good, kills)  # the last run may have more kills than requested
    print(f"{good} of {kills} kills without a repeated or missing image")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--all-options", action="store_true", help="with EMA and the others of ALL_OPTIONS")
    kind.add_argument("--changing", action="store_true", help="resume with other batch sizes and ranks")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # with --changing a multiple of every step: 1 to 3 images x 2 ranks x 2 batches
        data = make_data(Path(folder), 24 if args.changing else 12)
        if args.changing:
            good = changing_trials(data, Path(folder), args.kills, args.seed)
        else:
            good = trials(data, Path(folder), args.kills, args.seed, *(ALL_OPTIONS if args.all_options else ()))
        sys.exit(good != args.kills)


if __name__ == "__main__":
    main()
