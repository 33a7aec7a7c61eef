"""Check the installation: versions, plugins, devices, launchers, memory, and one training step.

    python scripts/check_device.py
    python scripts/check_device.py --device_target Ascend
    mpirun -n 2 python scripts/check_device.py       # the ranks train together

Prints what MindSpore finds and, for a plugin that does not load, why. Then trains a tiny network (hrnet_tiny, random
image of 64 x 128, 2 classes) for two steps on the device and prints the loss and the seconds of each; the first step
includes the compilation. The exit status is 0 if that worked and 2 if the device is missing.
"""

import argparse
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from ocrnet import errors
from ocrnet.config import LossConfig, ModelConfig, OptimizerConfig
from ocrnet.distributed import collectives, launcher
from ocrnet.runtime import device, device_selection, program

PACKAGES = ("mindspore", "mindcv", "numpy", "opencv-python-headless", "protobuf")
DRIVER_TOOLS = {
    "Ascend": ("npu-smi", "info", "-m"),
    "GPU": ("nvidia-smi", "--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader"),
}
"""{device: the driver's program that names the devices}: it names them even if MindSpore's plugin does not load."""
LAUNCHERS = ("mpirun", "mpiexec.hydra", "msrun", "srun")
SIZE = (64, 128)
CLASSES = 2


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device_target", choices=device_selection.TARGETS, help="default: the first that has a device"
    )
    parser.add_argument("--ms_mode", type=int, choices=[0, 1], default=0, help="0: graph mode (default), 1: PyNative")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    if launcher.ranks().is_main and not launcher.is_scheduler():
        for title, lines in (("versions", versions()), ("devices", devices()), ("machine", machine())):
            print(f"{title}:", *lines, sep="\n  ", flush=True)
    target = device.init(args.device_target, args.ms_mode, seed=0)
    print(f"training hrnet_tiny on {launcher.ranks().size} x {target}, ms_mode {args.ms_mode}:", flush=True)
    for number, (loss, seconds) in enumerate(train_two_steps(), 1):
        print(f"  step {number}: loss {loss:.4f}, {seconds:.2f} s", flush=True)
        if not math.isfinite(loss):
            raise errors.UserError(f"{target}: the loss of step {number} is {loss}: this device computes wrong values")
    print(f"{target} works")
    collectives.barrier()


def versions() -> list[str]:
    """Returns a line for Python, each package, CANN, CUDA and cuDNN."""
    lines = [f"Python {platform.python_version()}, {platform.machine()}, {platform.platform()}"]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name}: not installed under this name")
    return [*lines, cann(), cuda(), cudnn()]


def cann() -> str:
    """Returns CANN's version and folder, from the file that MindSpore reads too."""
    home = os.environ.get("ASCEND_HOME_PATH")
    folder = Path(home or "/usr/local/Ascend/ascend-toolkit/latest")
    sourced = "" if home else "; ASCEND_HOME_PATH is not set: source its set_env.sh"
    for file in (folder / "compiler" / "version.info", folder / "version.info"):
        if file.is_file():
            found = re.search(r"Version\s*=\s*(\S+)", file.read_text(encoding="utf-8", errors="replace"))
            return f"CANN {found[1] if found else 'of unknown version'} in {folder}{sourced}"
    return f"CANN: not found in {folder}"


def cuda() -> str:
    """Returns the version of CUDA by nvcc, which MindSpore looks for in CUDA_HOME and PATH."""
    home = os.environ.get("CUDA_HOME", "")
    nvcc = shutil.which(f"{home}/bin/nvcc") if home else shutil.which("nvcc")
    where = f"CUDA_HOME={home}" if home else "CUDA_HOME is not set"
    if not nvcc:
        return f"CUDA: nvcc not found; {where}"
    release = re.search(r"release (\S+?),", output(nvcc, "--version"))
    return f"CUDA {release[1] if release else 'of unknown version'}: {nvcc}; {where}"


def cudnn() -> str:
    """Returns the files of cuDNN in the folders that the loader searches."""
    folders = [
        *os.environ.get("LD_LIBRARY_PATH", "").split(":"),
        f"{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/lib64",
    ]
    folders += [f"/usr/lib/{platform.machine()}-linux-gnu", "/usr/lib64"]
    found = sorted({str(file) for folder in folders if folder for file in Path(folder).glob("libcudnn.so.*")})
    return f"cuDNN: {', '.join(found) or 'not found'}"


def devices() -> list[str]:
    """Returns for each kind of device how many there are, or why it cannot be used, and the driver's lines."""
    lines = []
    for name in device_selection.TARGETS:
        problem = device_selection.problem(name)
        lines.append(f"{name}: {problem or f'{device_selection.device_count(name)} found'}")
        if tool := DRIVER_TOOLS.get(name):
            lines += [f"  {tool[0]}: {line.strip()}" for line in output(*tool).splitlines() if line.strip()]
    return lines


def machine() -> list[str]:
    """Returns lines for cores, data threads, instruction set, memory and launchers."""
    from ocrnet.data.loader import worker_threads

    free = device.available_memory()
    info = Path("/proc/cpuinfo")
    avx512 = info.is_file() and "avx512f" in info.read_text(encoding="utf-8", errors="replace")
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "not set")
    started = launcher.detect_launcher()
    ranks = launcher.ranks()
    return [
        f"{device.cores()} cores for this process, {worker_threads(0)} data threads by default",
        f"AVX-512: {'yes' if avx512 else 'no'}; ONEDNN_MAX_CPU_ISA: {limit}",
        f"memory: {f'{free / 2**30:.1f} GiB available' if free is not None else 'unknown'}",
        *(f"{name}: {launcher_version(name)}" for name in LAUNCHERS),
        f"this process: rank {ranks.rank} of {ranks.size}, started by {started or 'no launcher'}",
    ]


def launcher_version(name: str) -> str:
    """Returns the path of a launcher and the line of its version; "not found" if it is not on the PATH."""
    path = shutil.which(name)
    if not path:
        return "not found"
    if name == "msrun":
        return f"{path}, comes with MindSpore"
    text = output(path, "--version")
    version = next((" ".join(line.split()) for line in text.splitlines() if re.search(r"\d+\.\d+", line)), "")
    return f"{path}, {version or 'does not print its version'}"


def output(*command: str) -> str:
    """Returns what a program prints on stdout; "" if it cannot run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def train_two_steps() -> Iterator[tuple[float, float]]:
    """Trains a tiny network and yields loss and seconds of both steps."""
    from mindspore import Tensor, float32

    from ocrnet.models.ocrnet import OCRNet
    from ocrnet.training.losses import OCRLoss
    from ocrnet.training.optimizer import make_optimizer
    from ocrnet.training.step import TrainOneStep

    model = ModelConfig(backbone="hrnet_tiny", head_channels=16, key_channels=8, context_channels=16)
    loss_network = OCRLoss(OCRNet(model, CLASSES), LossConfig(), CLASSES, align_corners=False)
    lr = Tensor(0.01, float32)
    step = TrainOneStep(loss_network, make_optimizer(OptimizerConfig(), loss_network), None).set_train(True)
    random = np.random.default_rng(launcher.ranks().rank)
    images = Tensor(random.normal(size=(1, 3, *SIZE)).astype(np.float32))
    labels = Tensor(random.integers(0, CLASSES, (1, *SIZE)).astype(np.int32))
    for _ in range(2):
        started = time.perf_counter()
        loss = float(step(images, labels, lr)[0].asnumpy())
        yield loss, time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(program.run(main))
