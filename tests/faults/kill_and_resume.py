"""Kill trainings with SIGKILL at random moments, restart them, and compare the ends with an undisturbed run's.

    python tests/faults/kill_and_resume.py --kills 30

Each of the runs is killed once, a third of them while a checkpoint is written, and goes on with --resume_ckpt auto and
another number of data workers. Weights, optimizer, loss scale, best score, the log of losses and TensorBoard's values
must be the same, bit for bit. Dropout and a dynamic loss scale are on; an epoch has three steps, so nearly every kill
falls inside one. Some fifteen minutes on two cores.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mindspore as ms

ROOT = Path(__file__).resolve().parents[2]
STEPS = 40
FLAGS = (
    "--config config/ocrnet/config_ocrnet_demo.yml --batch_size 4 --log_interval 1 --ms_loss_scaler dynamic "
    f"--total_step {STEPS} --resume_ckpt auto --set model.head_channels=16 --set model.key_channels=8 "
    "--set model.context_channels=16 --set data.crop_size=[32,64] --set schedule.warmup_steps=2 "
    "--set train.loss_scale.window=3 --set checkpoint.interval=4 --set eval.interval=6 "
    "--set model.dropout=0.3 --set model.aux_dropout=0.2"
).split()


def start(data: Path, folder: Path, workers: int) -> subprocess.Popen:
    """Start train.py, or let it go on, in `folder`."""
    command = [sys.executable, str(ROOT / "train.py"), *FLAGS, "--num_parallel_workers", str(workers)]
    command += ["--dataset_dir", str(data), "--save_dir", str(folder)]
    output = (folder.parent / f"{folder.name}.txt").open("ab")
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)


def finish(data: Path, folder: Path, workers: int) -> None:
    """Run to the end. Raises RuntimeError with what was printed when it fails."""
    if start(data, folder, workers).wait(timeout=600):
        raise RuntimeError((folder.parent / f"{folder.name}.txt").read_text())


def kill_somewhere(data: Path, folder: Path, workers: int, rng: random.Random, writing: bool) -> str:
    """Start a run and kill it: in a checkpoint write, or so many ms after a step. Says where that was."""
    process = start(data, folder, workers)
    step = rng.randint(0, STEPS - 8)
    log = folder / "train.log"
    while process.poll() is None and reached(log) < step:
        time.sleep(0.002)
    if writing:
        while process.poll() is None and not list((folder / "checkpoint").glob("writing.*")):
            pass
    else:
        time.sleep(rng.uniform(0, 0.3))
    process.kill()
    if process.wait() != -9:
        return "ended before the kill"
    half = list((folder / "checkpoint").glob("writing.*"))
    return f"killed after step {reached(log)}" + (f", half-written {half[0].name} on the disk" if half else "")


def reached(log: Path) -> int:
    """The last step in a log."""
    steps = re.findall(r"^step (\d+)/", log.read_text(), re.MULTILINE) if log.exists() else []
    return int(steps[-1]) if steps else 0


def outcome(folder: Path) -> dict[str, object]:
    """All that must be the same; times are left out."""
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
    """(step, name, value) as they stand in the event files, one after the other, but for the speed."""
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
    """Names of what differs."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def trials(data: Path, where: Path, kills: int, seed: int) -> int:
    """How many of `kills` runs end as the undisturbed one."""
    finish(data, where / "undisturbed", 1)
    expected, rng, same = outcome(where / "undisturbed"), random.Random(seed), 0
    for number in range(1, kills + 1):
        folder = where / f"run{number}"
        first = rng.choice((1, 2))
        story = kill_somewhere(data, folder, first, rng, writing=number % 3 == 0)
        finish(data, folder, 3 - first)
        differences = different(expected, outcome(folder))
        same += not differences and story.startswith("killed")
        verdict = f"DIFFERENT: {', '.join(differences[:5])}" if differences else "identical"
        print(f"{number}/{kills}: {first} worker(s), {story}; resumed with {3 - first}: {verdict}", flush=True)
    print(f"{same} of {kills} identical ({len(expected) - 3} tensors, log, best score and TensorBoard)")
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        script = [sys.executable, str(ROOT / "scripts" / "make_demo_data.py"), "--output", str(data)]
        size = ["--train", "12", "--val", "5", "--width", "128", "--height", "64"]
        subprocess.run([*script, *size], check=True, stdout=subprocess.DEVNULL)
        sys.exit(trials(data, Path(folder), args.kills, args.seed) != args.kills)


if __name__ == "__main__":
    main()
