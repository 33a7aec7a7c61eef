"""Measure how fast training samples are read: PNG pairs against a packed file, by data threads and processes.

    python scripts/benchmark_reading.py
    python scripts/benchmark_reading.py --threads 1 2 4 8 --processes 1 8

Eight street scenes of 1024 x 2048 become samples of 512 x 1024 with all augmentations, in batches of 2. The processes
start at the same time and read the same files. Prints the median, minimum and maximum of the images per second of all
processes together, and for the packed file its memory: resident in each process, and proportional (PSS), where a page
that two processes share counts half. Thread counts above the CPU cores are left out, as in training.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from benchmark import make_data
from ocrnet import errors
from ocrnet.runtime import device, program

SOURCES = ("png", "packed")
FILE = "train.packed"


def read(folder: Path, source: str, threads: int, samples: int) -> None:
    """Reads training batches of 2 with a number of data threads."""
    from ocrnet.config import DataConfig
    from ocrnet.data.loader import TrainingSamples, training_batches
    from ocrnet.data.splits import open_dataset

    config = DataConfig(root=folder, workers=threads, packed=folder / FILE if source == "packed" else None)
    loader = TrainingSamples(open_dataset(config, "train"), config, seed=0, batch=2, first=0, last=samples)
    for _ in training_batches(loader, 2):
        pass


def file_memory(path: Path) -> tuple[float, float]:
    """Returns the resident and the proportional MB of a memory-mapped file in this process."""
    sizes = {"Rss": 0, "Pss": 0}
    mine = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            mine = line.endswith(str(path))
        name, _, value = line.partition(":")
        if mine and name in sizes:
            sizes[name] += int(value.split()[0])
    return sizes["Rss"] / 1000, sizes["Pss"] / 1000


def anonymous_memory() -> float:
    """Returns the MB of this process that no file backs: its own heap."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"Anonymous:\s+(\d+)", text)[1]) / 1000


def serve(folder: Path) -> None:
    """Reads as each line of stdin says; writes a line when it is done. The line "memory" asks for the memory."""
    import numpy as np

    device.init("CPU", 0, seed=0)
    print("ready", flush=True)
    for line in sys.stdin:
        if line == "memory\n":  # touches every page, and keeps the file mapped until the next line
            before = anonymous_memory()
            mapped = np.memmap(folder / FILE, np.uint8, "r")
            mapped[::512].sum()
            print(json.dumps([anonymous_memory() - before]), flush=True)
            sys.stdin.readline()
            print(json.dumps(file_memory(folder / FILE)), flush=True)
            sys.stdin.readline()
            del mapped
        else:
            read(folder, *json.loads(line))
        print("done", flush=True)


class Reader:
    """A process that reads on request."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, "--serve", str(folder)]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(command, **pipes)
        self.answer()

    def ask(self, line: str) -> None:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise errors.UserError(f"a reader ended too early, with status {self.process.wait()}")
        return line


def images_per_second(readers: list[Reader], source: str, threads: int, samples: int) -> float:
    """Returns the images per second of all readers together."""
    started = time.perf_counter()
    for reader in readers:
        reader.ask(json.dumps([source, threads, samples]))
    for reader in readers:
        reader.answer()
    return samples * len(readers) / (time.perf_counter() - started)


def print_memory(readers: list[Reader], file: Path) -> None:
    """Prints the memory of the packed file while all readers have it mapped."""
    for reader in readers:
        reader.ask("memory")
    grown = [json.loads(reader.answer())[0] for reader in readers]
    for reader in readers:
        reader.ask("measure")
    sizes = [json.loads(reader.answer()) for reader in readers]
    for reader in readers:
        reader.ask("close")
        reader.answer()
    print(f"packed file of {file.stat().st_size / 1e6:.0f} MB, read by {len(readers)} processes at the same time")
    for (resident, proportional), own in zip(sizes, grown, strict=True):
        print(f"  {resident:.0f} MB resident, {proportional:.0f} MB proportional; own memory grew by {own:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--samples", type=int, default=48, help="samples of each process and run, an even number")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; each has every combination once")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)

    cores = device.cores()
    threads = [count for count in args.threads if count <= cores]
    if left_out := sorted({*args.threads} - {*threads}):
        print(f"threads {', '.join(map(str, left_out))}: left out: {cores} cores")
    with tempfile.TemporaryDirectory(prefix="ocrnet-reading-") as name:
        folder = Path(name)
        make_data(folder, "packed")
        readers = [Reader(folder) for _ in range(max(args.processes))]
        for source in SOURCES:
            images_per_second(readers, source, 1, 8)  # warm-up, and files in the page cache
        rates = {(source, n, count): [] for source in SOURCES for n in args.processes for count in threads}
        for _ in range(args.repeats):
            for (source, n, count), found in rates.items():
                found.append(images_per_second(readers[:n], source, count, args.samples))
        print(f"{'source':<8}{'processes':>10}{'threads each':>14}{'images/s':>10}{'min':>8}{'max':>8}")
        for (source, n, count), found in rates.items():
            middle = statistics.median(found)
            print(f"{source:<8}{n:>10}{count:>14}{middle:>10.1f}{min(found):>8.1f}{max(found):>8.1f}")
        print_memory(readers, folder / FILE)
        for reader in readers:
            reader.process.stdin.close()
            reader.process.wait()


if __name__ == "__main__":
    sys.exit(program.run(main))
