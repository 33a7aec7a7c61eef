"""Which of a job's processes this one is, whoever started it: mpirun, srun, msrun, a rank table, or nobody."""

import os
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from ocrnet.errors import UserError

OPEN_MPI, HYDRA, SLURM = "Open MPI's mpirun", "mpiexec.hydra", "srun"
_MSRUN, _RANK_TABLE = "msrun", "rank table"

_SIZED = (
    ("RANK", "WORLD_SIZE"),  # torchrun, accelerate, DeepSpeed, Kubeflow's PyTorchJob
    ("PMI_RANK", "PMI_SIZE"),  # MPICH's other launchers, Cray's aprun and PALS
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),  # MVAPICH2's mpirun_rsh
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),  # IBM's jsrun
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("RANK_ID", "RANK_SIZE"),  # Ascend's rank table; supported together with RANK_TABLE_FILE
)
"""Rank and number of processes, as launchers that are not supported set them."""
_UNSIZED = ("PMIX_RANK", "PALS_RANKID", "ALPS_APP_PE")
"""The rank, where the environment does not tell the number of processes: PRRTE's prun, Cray's PALS and aprun."""

_RANK_VARIABLE = "OCRNET_RANK"  # in the environment of a rank's child processes


@dataclass(frozen=True)
class Ranks:
    """A process among those of its job, all counted from 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among the processes of this machine."""
    local_size: int = 1
    """Processes of this machine, as far as the launcher tells."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks and writes for all."""
        return self.rank == 0


SINGLE_PROCESS = Ranks()
_stored_ranks: Ranks | None = None
_own_scheduler = False


def detect_launcher() -> str | None:
    """The launcher that started this process as one of its ranks: the innermost, where one started another."""
    env = os.environ
    if _stored_ranks is None and _RANK_VARIABLE in env:
        return None  # a child process of a rank: its environment is inherited
    if _stored_ranks is None and "MS_ROLE" in env and ("RANK_ID" in env or is_scheduler()):
        return _MSRUN
    if "OMPI_COMM_WORLD_RANK" in env:
        return OPEN_MPI
    if "PMI_RANK" in env and "MPI_LOCALRANKID" in env:
        return HYDRA
    if _in_slurm_step():
        return SLURM
    if "MS_ROLE" in env:
        return _MSRUN
    return _RANK_TABLE if "RANK_TABLE_FILE" in env else None


def _in_slurm_step() -> bool:
    """Whether srun started this process. A batch script and a shell of salloc have SLURM_PROCID and SLURM_NTASKS, too.

    A batch script that was submitted from inside a step has inherited that step's variables; SLURM_GTIDS, the tasks of
    this node, is its own and does not fit them.
    """
    env = os.environ
    if not {"SLURM_STEP_ID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_NODEID", "SLURM_GTIDS"} <= env.keys():
        return False
    parts = (part.partition("(x") for part in env["SLURM_STEP_TASKS_PER_NODE"].split(","))  # 2(x3),1
    counts = list(chain.from_iterable(repeat(int(n), int(nodes.rstrip(")") or 1)) for n, _, nodes in parts))
    node = int(env["SLURM_NODEID"])
    return node < len(counts) and len(env["SLURM_GTIDS"].split(",")) == counts[node]


def ranks() -> Ranks:
    """From the environment alone, so it can be asked before MindSpore is imported."""
    if _stored_ranks is not None:
        return _stored_ranks
    env = os.environ

    def read(*names: str) -> Ranks:
        return Ranks(*(int(env[name]) for name in names))

    launcher = detect_launcher()
    if launcher == OPEN_MPI:
        return read(*(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")))
    if launcher == HYDRA:
        return read("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
    if launcher == SLURM:
        rank, size, local_rank = (int(env[f"SLURM_{name}"]) for name in ("PROCID", "STEP_NUM_TASKS", "LOCALID"))
        return Ranks(rank, size, local_rank, len(env["SLURM_GTIDS"].split(",")))
    if launcher == _MSRUN:
        size, rank, local_rank = (int(env.get(name, "0")) for name in ("MS_WORKER_NUM", "RANK_ID", "DEVICE_ID"))
        return Ranks(rank, size, local_rank, size if env.get("MS_SCHED_HOST") == "127.0.0.1" else 1)
    if launcher == _RANK_TABLE:
        local_rank = env.get("ASCEND_DEVICE_ID", env.get("DEVICE_ID", "0"))
        return Ranks(int(env.get("RANK_ID", "0")), int(env.get("RANK_SIZE", "1")), int(local_rank))
    return SINGLE_PROCESS


def require_known_launcher() -> None:
    """To be called before anything is written: several processes that each take themselves for alone destroy a run.

    Raises:
        UserError: the environment shows that this is one of several processes, but not reliably which one.
    """
    env, launcher = os.environ, detect_launcher()
    if _RANK_VARIABLE in env:
        return
    if launcher in (_MSRUN, _RANK_TABLE) and ranks().size > 1 and "RANK_ID" not in env:
        raise UserError(
            f"one of {ranks().size} processes ({launcher}), but RANK_ID is not set: each would take itself for rank 0. "
            "With msrun on several machines give each its --node_rank."
        )
    if launcher == SLURM and ranks().size > 1 and _has_terminal():
        raise UserError(
            f"SLURM_STEP_NUM_TASKS={ranks().size}: srun --pty connects one of its {ranks().size} tasks with the "
            "terminal, and this program waits for the others. Open the shell with: srun --ntasks=1 --pty bash"
        )
    found = []
    if launcher is None or "TORCHELASTIC_RUN_ID" in env:  # srun and mpirun may have started a torchrun on each machine
        found += [name for pair in _SIZED if pair[0] in env and env.get(pair[1], "1") != "1" for name in pair]
    if launcher is None and env.get("PMI_SIZE") != "1":
        found += [name for name in _UNSIZED if name in env]
    if found:
        raise UserError(
            f"{' '.join(f'{name}={env[name]}' for name in found)}: this is one of several processes of a launcher that "
            "is not supported. Use mpirun (Open MPI, MPICH, Intel MPI), srun or msrun. To run this process alone: "
            f"env {' '.join(f'-u {name}' for name in found)} python ..."
        )


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def job_id() -> str:
    """The same in all processes of this job on this machine, and different in any other job at the same time.

    Raises:
        UserError: mpiexec.hydra's variables are set, but it did not start this process.
    """
    env, launcher = os.environ, detect_launcher()
    if launcher == HYDRA:
        return " ".join(map(str, (launcher, *_hydra_proxy())))
    names = {
        OPEN_MPI: ("PMIX_SERVER_TMPDIR", "PMIX_NAMESPACE"),
        SLURM: ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_STEP_ID"),
        _MSRUN: ("MS_SCHED_HOST", "MS_SCHED_PORT"),
        _RANK_TABLE: ("RANK_TABLE_FILE",),
    }.get(launcher, ())
    return " ".join([launcher or "alone", *(env.get(name, "") for name in names)])


def _hydra_proxy() -> tuple[int, int]:
    """Process number and start time of hydra's proxy: there is one on each machine, an ancestor of all ranks there."""
    pid = os.getppid()
    while pid:
        name, _, fields = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
        parent, start = (int(fields.split()[index]) for index in (1, 19))
        if "pmi_proxy" in name:
            return pid, start
        pid = parent
    names = ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
    raise UserError(
        f"{' '.join(f'{name}={os.environ[name]}' for name in names)}, but no mpiexec.hydra is running above this "
        f"process: the variables are left over. To run alone: env {' '.join(f'-u {name}' for name in names)} python ..."
    )


def is_scheduler() -> bool:
    """Whether this process only brings the others together: msrun starts one with the workers' own command."""
    return os.environ.get("MS_ROLE") == "MS_SCHED"


def store_ranks(own_scheduler: bool) -> None:
    """Keep what this process is, before its environment changes; child processes from now on run alone.

    Args:
        own_scheduler: rank 0 has started the scheduler, not msrun.
    """
    global _stored_ranks, _own_scheduler
    _stored_ranks, _own_scheduler = ranks(), own_scheduler
    os.environ[_RANK_VARIABLE] = str(_stored_ranks.rank)


def exit_process(status: int) -> None:
    """End this process at once: when it has failed and is one of several, and always with a scheduler of ours.

    MindSpore's own end waits for processes that may be gone, and with a scheduler of ours it sometimes crashes when all
    is done. msrun's scheduler, however, takes for dead who does not say goodbye.
    """
    if ranks().size > 1 and (status or _own_scheduler):
        if status == 0:
            # what this rank has sent may still be on its way in a thread, and the scheduler goes with rank 0, the last
            time.sleep(3 if ranks().is_main else 2)
        sys.stdout.flush()
        sys.stderr.flush()
        if status and detect_launcher() == HYDRA:
            _abort(status)
        os._exit(status)


def _abort(status: int) -> None:
    """Ask mpiexec.hydra, in its protocol PMI-1, to end the job: if a rank merely fails it leaves the others waiting."""
    with suppress(OSError, UserError), socket.socket(fileno=os.dup(int(os.environ.get("PMI_FD", "-1")))) as channel:
        if peer_credentials(channel)[0] == _hydra_proxy()[0]:  # and not a file that got the same number later
            channel.sendall(f"cmd=abort exitcode={status}\n".encode())


def peer_credentials(channel: socket.socket) -> tuple[int, int]:
    """Process and user at the other end of a Unix socket, from the kernel."""
    pid, user, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, user
