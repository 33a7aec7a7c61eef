"""All device-specific code: detection, MindSpore's device setup, workarounds for its runtime, memory and cores.

The functions import MindSpore locally, because MindSpore reads some environment variables at import.
"""

import atexit
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from ocrnet.distributed import cluster, launcher, rank_table
from ocrnet.errors import UserError
from ocrnet.runtime import device_options, device_selection


def prepare_environment() -> None:
    """Set the environment variables needed before the import of MindSpore and OpenCV. Keeps values set by the user."""
    rank_table.hide()
    atexit.register(_keep_networks_until_exit)
    os.environ.setdefault("GLOG_v", "3")  # errors only: most warnings are about missing accelerators
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # this program reports damaged images itself
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "178956970")  # images.MAX_PIXELS, also for OpenCV's decoders
    # MindSpore imports the OBS SDK, where it is installed; Python 3.12 warns of its invalid escape sequence
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=".*/obs/")
    accelerators = [*Path("/dev").glob("davinci[0-9]*"), *Path("/dev").glob("nvidia[0-9]*")]
    if not accelerators:
        _limit_cpu_isa()


def _keep_networks_until_exit() -> None:
    """Removes the destructor of MindSpore's cells when the interpreter exits.

    It uses MindSpore's modules, which Python has already cleared when it deletes a network that is a module global:
    each cell would print an exception. The memory is freed with the process.
    """
    cell = sys.modules.get("mindspore.nn.cell")
    if cell is not None and hasattr(cell.Cell, "__del__"):
        del cell.Cell.__del__


_ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
_isa_limited = False


def _limit_cpu_isa() -> None:
    # oneDNN 3 in MindSpore 2.9 and 2.10 falls back to a reference loop for every convolution on CPUs with AVX-512:
    # 0.3 instead of 50-150 GFLOP/s. oneDNN 2.2 in MindSpore 2.7 and 2.8 does not. oneDNN reads the variable once, at
    # its first primitive, so MindSpore cannot be imported to ask it: its library's file name is enough.
    global _isa_limited
    mindspore = find_spec("mindspore")
    if mindspore and mindspore.origin and Path(mindspore.origin).with_name("lib").joinpath("libdnnl.so.2").exists():
        return
    _isa_limited = _isa_limited or _ISA_VARIABLE not in os.environ
    os.environ.setdefault(_ISA_VARIABLE, "AVX2")


@contextmanager
def without_isa_limit() -> Iterator[None]:
    """Context without MindSpore's CPU instruction-set limit, for libraries with their own oneDNN."""
    limit = os.environ.pop(_ISA_VARIABLE, None) if _isa_limited else None
    try:
        yield
    finally:
        if limit:
            os.environ[_ISA_VARIABLE] = limit


def init(
    target: str | None, mode: int = 0, seed: int | None = None, options: Mapping[str, object] = MappingProxyType({})
) -> str:
    """Set MindSpore's device, mode (0 graph, 1 PyNative) and seed, and connect the ranks. Returns the device's name.

    In msrun's scheduler process, runs the scheduler until the job ends, then exits.

    Args:
        target: Ascend, GPU or CPU; None: the first one that has a device.
        options: see `device_options.apply`.

    Raises:
        UserError: the device is not available; see `device_selection.choose`.
    """
    import mindspore as ms

    ms.set_context(mode=mode)
    chosen = connect(target, options, mode)
    if seed is not None:
        ms.set_seed(seed)
    return chosen


_connected: str | None = None


def connect(target: str | None, options: Mapping[str, object] = MappingProxyType({}), mode: int = 0) -> str:
    """Set MindSpore's device and connect the ranks, once in a process. Returns the device's name.

    Args: see `init`.

    Raises:
        UserError: the device is not available, or this process uses another one.
    """
    import mindspore as ms

    global _connected
    if _connected is not None:
        if target not in (None, _connected):
            raise UserError(f"device {target}: this process already uses {_connected}; use one device in a process")
        return _connected
    chosen = device_selection.choose(target)
    if chosen == "CPU":
        _limit_cpu_isa()
    try:
        ms.set_device(chosen, _device_id(chosen))
    except RuntimeError as error:  # the caller has used another device before
        raise UserError(f"device {chosen}: MindSpore cannot use it: {' '.join(str(error).split())}") from None
    device_options.apply(options, chosen, mode)  # before the ranks join, which starts the device
    _join_ranks(chosen)
    _connected = chosen
    return chosen


def _device_id(target: str) -> int | None:
    """Returns the id of this rank's device; None: MindSpore chooses, for one process or with msrun's DEVICE_ID."""
    me = launcher.ranks()
    if target == "CPU" or launcher.detect_launcher() in (None, launcher.MSRUN):
        return None
    # 1 if Slurm or a container gives each process its own device
    visible = device_selection.device_count(target) or me.local_size
    return me.device if me.device is not None and me.device < visible else me.local_rank % visible


def _join_ranks(target: str) -> None:
    import mindspore as ms
    from mindspore.communication import get_rank
    from mindspore.communication import init as join

    ranks = launcher.ranks()
    if ranks.size == 1 and not launcher.is_scheduler():
        return
    if not launcher.is_scheduler():
        cluster.join_cluster()
    if target == "CPU":
        ms.set_context(runtime_num_threads=cores())  # by default every rank creates threads for the whole machine
    join()
    if launcher.is_scheduler():
        sys.exit(0)
    if get_rank() != ranks.rank:
        raise UserError(f"MindSpore calls this process rank {get_rank()}, its launcher rank {ranks.rank}")
    ms.set_auto_parallel_context(
        parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=ranks.size
    )
    if not ranks.is_main:
        # only rank 0 prints to stdout; all ranks print errors to stderr
        sys.stdout = Path(os.devnull).open("w", errors="backslashreplace")  # noqa: SIM115


@contextmanager
def pynative() -> Iterator[None]:
    """Context in PyNative mode (operator by operator, without compilation), independent of the current mode."""
    with execution_mode(1):
        yield


@contextmanager
def execution_mode(mode: int) -> Iterator[None]:
    """Context in graph mode (0) or PyNative mode (1), independent of the current mode."""
    import mindspore as ms

    before = ms.get_context("mode")
    ms.set_context(mode=mode)
    try:
        yield
    finally:
        ms.set_context(mode=before)


def available_memory() -> int | None:
    """Returns the bytes of main memory available to this process: free memory, limited by its container (cgroup).

    None if unknown.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    root = Path("/sys/fs/cgroup")
    for limit, used, cache in (
        (root / "memory.max", root / "memory.current", "file "),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes", "total_cache "),
    ):
        try:
            statistics = limit.with_name("memory.stat").read_text(encoding="ascii").splitlines()
            cached = next(int(line.split()[1]) for line in statistics if line.startswith(cache))  # reclaimable
            free = min(free, int(limit.read_text()) - int(used.read_text()) + cached)
        except (OSError, ValueError, StopIteration):  # no such cgroup, or no limit ("max")
            continue
    return max(0, free)


def cores() -> int:
    """Returns the CPU cores for this process: the allowed cores divided by the ranks of this machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // launcher.ranks().local_size)
