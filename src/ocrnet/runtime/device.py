"""The only file that knows the device: what is there, how MindSpore is told, what its runtime must be spared.

MindSpore is imported inside the functions, because some of what it reads from the environment it reads at import.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocrnet.distributed import cluster, launcher
from ocrnet.errors import UserError

TARGETS = ("Ascend", "GPU", "CPU")


def prepare_environment() -> None:
    """What must be in the environment before MindSpore and OpenCV are imported. Values that the user set stay."""
    os.environ.setdefault("GLOG_v", "3")  # errors only: most warnings are about accelerators that are not there
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # a damaged image is named by us
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "178956970")  # images.MAX_PIXELS, also for OpenCV's decoders
    accelerators = [*Path("/dev").glob("davinci[0-9]*"), *Path("/dev").glob("nvidia[0-9]*")]
    if not accelerators:
        _choose_fast_convolutions()


_LIMIT = "ONEDNN_MAX_CPU_ISA"
_chosen_here = False


def _choose_fast_convolutions() -> None:
    # oneDNN 3.10 in MindSpore 2.10 falls back to a reference loop for every convolution when it sees AVX-512:
    # 0.3 instead of 50-150 GFLOP/s. oneDNN reads this once, at its first primitive.
    global _chosen_here
    _chosen_here = _chosen_here or _LIMIT not in os.environ
    os.environ.setdefault(_LIMIT, "AVX2")


@contextmanager
def without_isa_limit() -> Iterator[None]:
    """Inside, what was limited for MindSpore's sake is not: for programs with a oneDNN of their own."""
    limit = os.environ.pop(_LIMIT, None) if _chosen_here else None
    try:
        yield
    finally:
        if limit:
            os.environ[_LIMIT] = limit


def init(target: str | None, mode: int = 0, seed: int | None = None) -> str:
    """Set MindSpore's device, mode (0 graph, 1 PyNative) and seed, and join the other ranks; return the device's name.

    In a process that msrun started as its scheduler this returns when the job is over: it ends the process.

    Args:
        target: Ascend, GPU or CPU; None takes the first of them that is there.

    Raises:
        UserError: the device is not there.
    """
    import mindspore as ms

    present = [name for name in TARGETS if ms.hal.is_available(name)]
    chosen = target or present[0]
    if chosen not in present:
        raise UserError(
            f"device_target {chosen}: not found by this MindSpore ({ms.__version__}). "
            f"Here: {', '.join(present)}; use --device_target {present[0]} or leave it out."
        )
    if chosen == "CPU":
        _choose_fast_convolutions()
    if chosen == "Ascend" and "RANK_TABLE_FILE" in os.environ:
        ms.set_device(chosen, launcher.ranks().local_rank)
    elif chosen != "CPU" and launcher.detect_launcher() in (launcher.SLURM, launcher.HYDRA):
        visible = getattr(ms.device_context, chosen.lower()).device_count()  # 1, where Slurm gives each task its own
        ms.set_device(chosen, launcher.ranks().local_rank % visible)
    else:  # Open MPI's mpirun and msrun hand out the devices themselves
        ms.set_device(chosen)
    ms.set_context(mode=mode)
    _join_ranks(chosen)
    if seed is not None:
        ms.set_seed(seed)
    return chosen


def _join_ranks(target: str) -> None:
    import mindspore as ms
    from mindspore.communication import init as join

    ranks = launcher.ranks()
    if ranks.size == 1 and not launcher.is_scheduler():
        return
    own_scheduler = False
    if target == "CPU" or launcher.detect_launcher() in (launcher.SLURM, launcher.HYDRA):
        own_scheduler = cluster.join_cluster()
    if not launcher.is_scheduler():
        launcher.store_ranks(own_scheduler)
    if target == "CPU":
        ms.set_context(runtime_num_threads=cores())  # left alone, every rank makes threads for the whole machine
    join()
    if launcher.is_scheduler():
        sys.exit(0)
    ms.set_auto_parallel_context(
        parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=ranks.size
    )
    if not ranks.is_main:
        # rank 0 speaks for all; what goes wrong is on stderr
        sys.stdout = Path(os.devnull).open("w", errors="backslashreplace")  # noqa: SIM115


@contextmanager
def pynative() -> Iterator[None]:
    """Run what is inside operator by operator, without compiling, whatever mode the program is in."""
    import mindspore as ms

    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=mode)


def available_memory() -> int | None:
    """Bytes of main memory that this process may still take: what the machine has free, or what its container
    (control group) leaves of that. None where the system does not say."""
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
            cached = next(int(line.split()[1]) for line in statistics if line.startswith(cache))  # the kernel frees it
            free = min(free, int(limit.read_text()) - int(used.read_text()) + cached)
        except (OSError, ValueError, StopIteration):  # no such group, or no limit ("max")
            continue
    return max(0, free)


def cores() -> int:
    """Processor cores for this process: those that it may use, divided among the ranks of the machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // launcher.ranks().local_size)
