"""Runs the programs on damaged and hostile files mixed with intact ones.

    python tests/faults/hostile_files.py            # about 500 files, 10 to 20 minutes
    python tests/faults/hostile_files.py --few      # some of each kind, without decompression bombs

Every program must terminate, name the files that it cannot use, process all intact files, print no traceback, start no
other program, open no connection and use less than 2 GB. Exit status 1 on a violation.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import hostile_inputs as inputs

from ocrnet.config import Config, ModelConfig
from ocrnet.models.ocrnet import OCRNet
from ocrnet.weights.ckpt import save_weights

ROOT = Path(__file__).resolve().parents[2]
MEMORY, SECONDS = 2e9, 600  # limits per program
GOOD = 12
_WATCH = """
import os, sys
def hook(event, details, log=os.open(os.environ["OCRNET_AUDIT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect"):
        os.write(log, f"{event} {details[:2]!r}\\n".encode(errors="replace"))
sys.addaudithook(hook)
"""
_PROGRAMS = ("gs", "gswin64c", "sh", "bash", "ffmpeg", "ffprobe", "convert", "magick", "inkscape", "xdg-open", "touch")


class Fault(Exception):
    """A violation by a program."""


class Lab:
    """A folder with the input files, and detectors for started programs and connections."""

    def __init__(self, folder: Path, few: bool) -> None:
        self.folder, self.few = folder, few
        self.kinds: dict[Path, str] = {}
        for name in ("bin", "site", "images", "pairs", "annotations", "weights", "out"):
            (folder / name).mkdir()
        for name in _PROGRAMS:  # a decoder that searches PATH finds these first
            trap = folder / "bin" / name
            trap.write_text(f'#!/bin/sh\necho "{name} $@" >> {folder}/started.txt\nexec /bin/{name} "$@"\n')
            trap.chmod(0o755)
        (folder / "site" / "sitecustomize.py").write_text(_WATCH)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self.server.accept()[0].close()
            self.connections += 1

    def put(self, folder: str, kind: str, files: inputs.Files) -> list[Path]:
        paths = []
        for number, (suffix, content) in enumerate(files):
            path = self.folder / folder / f"{kind}{number:03}{suffix}"
            path.write_bytes(content)
            self.kinds[path] = kind
            paths.append(path)
        return paths

    def run(self, *command: object) -> tuple[int, str, float]:
        """Run an entry script. Returns exit status, output and peak memory in bytes. Raises Fault."""
        audit, output = self.folder / "audit.txt", self.folder / "output.txt"
        audit.write_text("")
        path = [str(self.folder / "site"), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "OCRNET_AUDIT": str(audit),
        }
        before = self.connections
        with output.open("wb") as file:
            words = [sys.executable, ROOT / command[0], *command[1:]]
            process = subprocess.Popen(
                list(map(str, words)),
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=self.folder / "out",
            )
            deadline = time.monotonic() + SECONDS
            peak = 0
            while (status := process.poll()) is None:
                peak = max(peak, *map(highest_memory, family(process.pid)))
                if time.monotonic() > deadline:
                    process.kill()
                    raise Fault(f"does not terminate within {SECONDS} s")
                time.sleep(0.02)
        text = output.read_bytes().decode(errors="backslashreplace")
        calls = [line for line in audit.read_text().splitlines() if not _known(line)]
        started = self.folder / "started.txt"
        problems = [
            *(["a traceback"] if "Traceback" in text else []),
            *([f"ended by signal {-status}"] if status < 0 else []),
            *([f"{peak / 1e9:.2f} GB"] if peak > MEMORY else []),
            *([f"called {calls[:3]}"] if calls else []),
            *([f"started {started.read_text()}"] if started.exists() else []),
            *(["executed code from a file"] if any(self.folder.rglob(inputs.MARK)) else []),
            *([f"{self.connections - before} connections"] if self.connections > before else []),
        ]
        if problems:
            raise Fault(", ".join(problems) + f"\n{text[-3000:]}")
        return status, text, peak


def _known(call: str) -> bool:
    """Returns whether a library makes this call at import, independent of the files."""
    return any(word in call for word in ("'file', '-b'", "lscpu", "ldconfig", "nvidia-smi", "uname"))


def family(process: int) -> list[int]:
    """Returns a process and all its descendants, from Linux's /proc."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return [process]
    return [process, *(other for child in children for other in family(int(child)))]


def highest_memory(process: int) -> int:
    """Returns the peak memory of a process in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def named(text: str, path: Path) -> bool:
    name = os.fsencode(path.name).decode(errors="backslashreplace")
    return name in text or repr(path.name)[1:-1] in text


def by_kind(lab: Lab, paths: list[Path], problems: str) -> str:
    """Returns a table: number of files of each kind, and how many of them are named in `problems`."""
    files = Counter(lab.kinds[path] for path in paths)
    refused = Counter(lab.kinds[path] for path in paths if named(problems, path))
    return "\n".join(f"    {kind:14} {count:4} files {refused[kind]:4} refused" for kind, count in files.items())


def tiny(lab: Lab) -> list[object]:
    """Returns the flags for a small network with 3 classes and its checkpoint."""
    model = {"backbone": "hrnet_tiny", "head_channels": 8, "key_channels": 8, "context_channels": 8}
    data = {
        "format": "list",
        "root": lab.folder / "pairs",
        "classes": ["a", "b", "c"],
        "train": "train.lst",
        "val": "val.lst",
    }
    config = Config(
        data={**data, "crop_size": (32, 32), "on_bad_sample": "skip"}, model=model, save_dir=lab.folder / "run"
    )
    config_file, checkpoint = lab.folder / "tiny.yml", lab.folder / "tiny.ckpt"
    config_file.write_text(config.to_yaml())
    network = OCRNet(ModelConfig(**model), 3)
    save_weights(checkpoint, {name: value.asnumpy() for name, value in network.parameters_dict().items()}, config)
    return ["--config", config_file, "--ms_mode", 1, "--ckpt_path", checkpoint]


def fill(lab: Lab) -> None:
    """Create all files except the weights."""
    intact, rng = inputs.intact_images(lab.folder), np.random.default_rng(0)
    few = lab.few
    lab.put("images", "good", ((suffix, content) for suffix, content in intact.items()))
    lab.put("images", "damaged", islice(inputs.damaged(intact, rng), 20 if few else 250))
    lab.put("images", "other_format", islice(inputs.other_formats(), 4 if few else None))
    lab.put("images", "claim", islice(inputs.claims(), 6 if few else None))
    lab.put("images", "video", islice(inputs.videos(lab.folder, lab.server.getsockname()[1]), 4 if few else None))
    if not few:
        lab.put("images", "bomb", inputs.bombs())
    for path in inputs.odd_entries(lab.folder / "images"):
        if path.suffix in (".png", ".gif", ".mp4"):
            lab.kinds[path] = "no_file"
    for number, name in enumerate(inputs.strange_names()):
        path = Path(os.fsdecode(os.path.join(os.fsencode(lab.folder / "images"), name)))
        path.write_bytes(inputs.encoded(inputs.pixels(number), "PNG"))
        lab.kinds[path] = "good_name"

    label = inputs.encoded(np.arange(2048, dtype=np.uint8).reshape(32, 64) % 3, "PNG")
    pairs, lines = lab.folder / "pairs", []
    for number in range(GOOD):
        (pairs / f"good{number}.png").write_bytes(inputs.encoded(inputs.pixels(number), "PNG"))
        (pairs / f"good{number}_label.png").write_bytes(label)
    for path in [
        path for path in lab.kinds if path.parent.name == "images" and path.suffix not in (".mp4", ".avi", ".mkv")
    ]:
        if lab.kinds[path].startswith("good") or path.is_symlink() or not path.is_file() or len(path.name.split()) > 1:
            continue
        os.link(path, pairs / path.name)
        lines.append(f"{path.name} good0_label.png")
    strange = [
        path for path in (*lab.put("pairs", "matlab", inputs.matlab()), *lab.put("pairs", "label", inputs.labels()))
    ]
    lines += [f"good0.png {path.name}" for path in strange]
    lines += [f"good0.png {path.name}" for path in lab.kinds if lab.kinds[path] in ("other_format", "bomb")]
    if not few:
        side, rows = 13_000, 13_000 * 13_001
        (pairs / "vast.png").write_bytes(inputs.png(side, side, inputs.zeros(rows + 2 * 13_000 * 13_000)))
        (pairs / "vast_label.png").write_bytes(inputs.png(side, side, inputs.zeros(rows), colour=0))
        lines.append("vast.png vast_label.png")
    mixed = []
    for number, line in enumerate(lines):  # twenty consecutive bad pairs stop a training
        mixed += [line, f"good{number % GOOD}.png good{number % GOOD}_label.png"]
    os.mkfifo(pairs / "pipe.png")
    (pairs / "val.lst").write_text("\n".join(mixed) + "\n")
    (pairs / "train.lst").write_text("\n".join([*mixed, "pipe.png good0_label.png", "good0.png nowhere.png"]) + "\n")

    for number in range(GOOD):
        path = lab.folder / "annotations" / f"good{number}.json"
        path.write_text(inputs.json.dumps(inputs.labelme()))
    lab.put("annotations", "annotation", inputs.annotations())
    inputs.odd_entries(lab.folder / "annotations")
    (lab.folder / "classes.txt").write_text("background\na\n")


def check_predict(lab: Lab, flags: list[object]) -> tuple[str, float]:
    out = lab.folder / "predicted"
    status, text, peak = lab.run("scripts/predict.py", *flags, "--input", lab.folder / "images", "--output", out)
    paths = [path for path in lab.kinds if path.parent.name == "images"]
    written = {os.path.normcase(path.relative_to(out / "raw")) for path in (out / "raw").rglob("*.png")}
    stems = {name.split(os.sep)[0].split(".")[0] for name in written}
    for path in paths:
        done = path.name.split(".")[0] in stems
        if lab.kinds[path].startswith("good") and not done:
            raise Fault(f"{path.name} is intact and was not segmented\n{text[-3000:]}")
        if not done and not named(text, path):
            raise Fault(f"{path.name} was neither segmented nor named")
    problems = text[text.rindex("\nerror: ") :]
    if status != 2:
        raise Fault(f"exit status {status}")
    return f"{len(paths)} files\n{by_kind(lab, paths, problems)}", peak


def check_pairs(lab: Lab, flags: list[object]) -> tuple[str, float]:
    status, text, peak = lab.run("scripts/check_dataset.py", *flags[:2])
    count = len((lab.folder / "pairs" / "train.lst").read_text().splitlines())
    train = re.split(r"^train: \d+ of", text, flags=re.MULTILINE)[0]  # not the progress bar
    refused = Counter(line.split(":")[0] for line in train.splitlines() if f": {lab.folder}" in line)
    usable = f"train: {count - sum(refused.values())} of {count} pairs can be used"
    if status != 1 or usable not in text or any(f"good{number}.png:" in text for number in range(GOOD)):
        raise Fault(f"exit status {status}, not «{usable}»\n{text[-3000:]}")
    return f"{count} pairs, {sum(refused.values())} refused: {dict(refused)}", peak


def check_eval(lab: Lab, flags: list[object]) -> tuple[str, float]:
    out = lab.folder / "evaluated"
    status, text, peak = lab.run("eval.py", *flags, "--save_predictions", out, "--report", lab.folder / "report")
    missing = [number for number in range(GOOD) if not list(out.rglob(f"good{number}.png"))]
    if status != 2 or missing or not (lab.folder / "report" / "index.html").exists():
        raise Fault(f"exit status {status}, without {missing}\n{text[-3000:]}")
    return text[text.rindex("\nerror: ") + 1 :].splitlines()[0], peak


def check_train(lab: Lab, flags: list[object]) -> tuple[str, float]:
    settings = ["--set", "train.epochs=1", "--set", "train.batch_size=8", "--set", "eval.run_eval=False"]
    status, text, peak = lab.run("train.py", *flags[:4], *settings)
    if status:
        raise Fault(f"exit status {status}\n{text[-3000:]}")
    skipped = {line for line in text.splitlines() if str(lab.folder / "pairs") in line}
    if not skipped:
        raise Fault(f"does not name the skipped pairs\n{text[-3000:]}")
    return f"an epoch, {len(skipped)} lines about skipped pairs", peak


def check_annotations(lab: Lab, flags: list[object]) -> tuple[str, float]:
    folders = ["--input", lab.folder / "annotations", "--output", lab.folder / "masks"]
    status, text, peak = lab.run("scripts/polygons_to_masks.py", *folders, "--classes", lab.folder / "classes.txt")
    missing = [number for number in range(GOOD) if not (lab.folder / "masks" / f"good{number}.png").exists()]
    outside = [path for path in (lab.folder / "out.png", Path("/tmp/out.png")) if path.exists()]
    paths = [path for path in lab.kinds if path.parent.name == "annotations"]
    silent = [
        path.name
        for path in paths
        if not named(text, path) and not (lab.folder / "masks" / path.stem).with_suffix(".png").exists()
    ]
    if status != 2 or missing or outside or silent:
        raise Fault(f"exit status {status}, without {missing}, outside {outside}, not named {silent}\n{text[-3000:]}")
    return f"{len(paths) + GOOD} files, {sum(named(text, path) for path in paths)} refused", peak


def check_weights(lab: Lab, flags: list[object]) -> tuple[str, float]:
    paths = lab.put("weights", "weights", islice(inputs.weights(), 2 if lab.few else None))
    highest = 0.0
    for path in paths:
        to = ["--config", flags[1], "--output", lab.folder / "converted.ckpt"]
        status, text, peak = lab.run("scripts/convert_weights.py", "--source", "mmseg", "--input", path, *to)
        highest = max(highest, peak)
        if status != 2 or not named(text, path):
            raise Fault(f"{path.name}: exit status {status}\n{text[-3000:]}")
    return f"{len(paths)} files, all refused", highest


CHECKS = (check_predict, check_pairs, check_eval, check_train, check_annotations, check_weights)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", action="store_true", help="some of each kind, no bombs")
    parser.add_argument("--only", choices=[check.__name__.removeprefix("check_") for check in CHECKS])
    args = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), args.few)
        fill(lab)
        flags = tiny(lab)
        for check in CHECKS:
            name = check.__name__.removeprefix("check_")
            if args.only and name != args.only:
                continue
            start = time.monotonic()
            try:
                result, peak = check(lab, flags)
                print(f"{name:12} {peak / 1e9:5.2f} GB {time.monotonic() - start:5.0f} s  {result}", flush=True)
            except Fault as fault:
                faults += 1
                print(f"{name:12} FAULT after {time.monotonic() - start:.0f} s: {fault}", flush=True)
        print(", ".join(f"{count} {kind}" for kind, count in Counter(lab.kinds.values()).items()))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
