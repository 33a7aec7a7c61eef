"""Rank and world size of this process under mpirun, srun, msrun or a rank table, or without a launcher."""

import os
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from ocrnet.distributed import rank_table
from ocrnet.errors import UserError

OPEN_MPI, HYDRA, SLURM = "Open MPI's mpirun", "mpiexec.hydra", "srun"
MSRUN, RANK_TABLE = "msrun", "rank table"

_SIZED = (
    ("RANK", "WORLD_SIZE"),  # torchrun, accelerate, DeepSpeed, Kubeflow's PyTorchJob
    ("PMI_RANK", "PMI_SIZE"),  # MPICH's other launchers, Cray's aprun and PALS
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),  # MVAPICH2's mpirun_rsh
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),  # IBM's jsrun
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("RANK_ID", "RANK_SIZE"),  # Ascend's rank table; supported together with RANK_TABLE_FILE
)
"""Variables for rank and number of processes of launchers that are not supported."""
_UNSIZED = ("PMIX_RANK", "PALS_RANKID", "ALPS_APP_PE")
"""Variables for the rank without the number of processes: PRRTE's prun, Cray's PALS and aprun."""

_RANK_VARIABLE = "OCRNET_RANK"  # in the environment of a rank's child processes


@dataclass(frozen=True)
class Ranks:
    """Rank of this process and size of its job; ranks count from 0."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine."""
    local_size: int = 1
    """Number of processes of this machine; 1 if the launcher does not provide it."""
    device: int | None = None
    """Id of this process's device in the rank table; None: the launcher does not provide it."""

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints and writes files."""
        return self.rank == 0


SINGLE_PROCESS = Ranks()
_stored: tuple[Ranks, str | None] | None = None  # ranks and launcher, before `cluster.py` changes the environment
_own_scheduler = False


def detect_launcher() -> str | None:
    """Returns the launcher that started this process as one of its ranks: the innermost, if they are nested."""
    if _stored is not None:
        return _stored[1]
    env = os.environ
    if _RANK_VARIABLE in env:
        return None  # a child process of a rank: its environment is inherited
    if "MS_ROLE" in env and ("RANK_ID" in env or is_scheduler()):
        return MSRUN
    if "OMPI_COMM_WORLD_RANK" in env:
        return OPEN_MPI
    if "PMI_RANK" in env and "MPI_LOCALRANKID" in env:
        return HYDRA
    if _in_slurm_step():
        return SLURM
    if "MS_ROLE" in env:
        return MSRUN
    return RANK_TABLE if rank_table.PATH_VARIABLE in env else None


def _in_slurm_step() -> bool:
    """Returns whether srun started this process.

    Batch scripts and salloc shells have SLURM_PROCID and SLURM_NTASKS, too. A batch script submitted
    inside a step inherits the variables of that step, except SLURM_GTIDS, the tasks of this node, which then does not
    match them.
    """
    env = os.environ
    if not {"SLURM_STEP_ID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_NODEID", "SLURM_GTIDS"} <= env.keys():
        return False
    parts = (part.partition("(x") for part in env["SLURM_STEP_TASKS_PER_NODE"].split(","))  # 2(x3),1
    counts = list(chain.from_iterable(repeat(int(n), int(nodes.rstrip(")") or 1)) for n, _, nodes in parts))
    node = int(env["SLURM_NODEID"])
    return node < len(counts) and len(env["SLURM_GTIDS"].split(",")) == counts[node]


def ranks() -> Ranks:
    """Returns the ranks from environment variables only, so it works before MindSpore is imported."""
    if _stored is not None:
        return _stored[0]
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
    if launcher == MSRUN:
        size, rank, local_rank = (int(env.get(name, "0")) for name in ("MS_WORKER_NUM", "RANK_ID", "DEVICE_ID"))
        return Ranks(rank, size, local_rank, size if env.get("MS_SCHED_HOST") == "127.0.0.1" else 1)
    if launcher == RANK_TABLE:
        return _ranks_of_table(int(env.get("RANK_ID", "0")))
    return SINGLE_PROCESS


def _ranks_of_table(rank: int) -> Ranks:
    try:
        table = rank_table.read()
        devices = table.machine(rank)[1]
    except (UserError, StopIteration):  # require_known_launcher reports it
        return Ranks(rank, int(os.environ.get("RANK_SIZE", "1")))
    return Ranks(rank, table.size, sorted(devices).index(rank), len(devices), devices[rank])


def require_known_launcher() -> None:
    """Check the launcher before anything is written: processes that do not know of each other destroy a run.

    Raises:
        UserError: this is one of several processes, but its rank is not reliably known.
    """
    env, launcher = os.environ, detect_launcher()
    if _RANK_VARIABLE in env:
        return
    if launcher == RANK_TABLE:
        _check_rank_table()
    if launcher in (MSRUN, RANK_TABLE) and ranks().size > 1 and "RANK_ID" not in env:
        raise UserError(
            f"one of {ranks().size} processes ({launcher}), but RANK_ID is not set: each process would be rank 0. "
            "With msrun on several machines set --node_rank on each."
        )
    if launcher == SLURM and ranks().size > 1 and _has_terminal():
        raise UserError(
            f"SLURM_STEP_NUM_TASKS={ranks().size}: srun --pty connects only one of its {ranks().size} tasks to the "
            "terminal, and this program would wait for the others. Open the shell with: srun --ntasks=1 --pty bash"
        )
    machines = env.get("MA_NUM_HOSTS", env.get("VC_WORKER_NUM", "1"))
    if launcher is None and machines != "1":
        raise UserError(
            f"ModelArts runs this command once on each of {machines} machines, and each process would be rank 0. Start "
            "the ranks of each machine with msrun: msrun --worker_num $((MA_NUM_HOSTS * MA_NUM_GPUS)) "
            "--local_worker_num $MA_NUM_GPUS --master_addr ${VC_WORKER_HOSTS%%,*} --node_rank $VC_TASK_INDEX "
            "--join True train.py ..."
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


def _check_rank_table() -> None:
    table, env = rank_table.read(), os.environ
    path = env[rank_table.PATH_VARIABLE]
    if (size := env.get("RANK_SIZE", str(table.size))) != str(table.size):
        raise UserError(f"RANK_SIZE={size}, but RANK_TABLE_FILE={path} has {table.size} ranks")
    if (rank := env.get("RANK_ID", "0")) not in map(str, range(table.size)):
        raise UserError(f"RANK_ID={rank}, but RANK_TABLE_FILE={path} has the ranks 0 to {table.size - 1}")


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def job_id() -> str:
    """Returns an id that is equal in all processes of this job on this machine and unique among simultaneous jobs.

    Raises:
        UserError: mpiexec.hydra's variables are set, but it did not start this process.
    """
    env, launcher = os.environ, detect_launcher()
    if launcher == HYDRA:
        return " ".join(map(str, (launcher, *_hydra_proxy())))
    names = {
        OPEN_MPI: ("PMIX_SERVER_TMPDIR", "PMIX_NAMESPACE"),
        SLURM: ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_STEP_ID"),
        MSRUN: ("MS_SCHED_HOST", "MS_SCHED_PORT"),
        RANK_TABLE: (rank_table.PATH_VARIABLE,),
    }.get(launcher, ())
    return " ".join([launcher or "alone", *(env.get(name, "") for name in names)])


def _hydra_proxy() -> tuple[int, int]:
    """Returns process id and start time of hydra's proxy, the ancestor of all ranks on a machine."""
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
        f"process: the variables are stale. Run a single process with: env {' '.join(f'-u {name}' for name in names)} "
        "python ..."
    )


def is_scheduler() -> bool:
    """Returns whether this process is the scheduler, which msrun starts with the same command as the workers."""
    return os.environ.get("MS_ROLE") == "MS_SCHED"


def store_ranks(own_scheduler: bool) -> None:
    """Store ranks and launcher before the environment changes. Later child processes run as single processes.

    Args:
        own_scheduler: rank 0, not msrun, starts the scheduler.
    """
    global _stored, _own_scheduler
    _stored, _own_scheduler = (ranks(), detect_launcher()), own_scheduler
    os.environ[_RANK_VARIABLE] = str(ranks().rank)


def exit_process(status: int) -> None:
    """Exit immediately if a rank of several has failed, and always with our own scheduler. Otherwise return.

    MindSpore's shutdown waits for processes that may no longer exist, and with our own scheduler it sometimes crashes
    after a successful run. msrun's scheduler, in contrast, treats a process without a regular shutdown as failed.
    """
    if ranks().size > 1 and (status or _own_scheduler):
        if status == 0:
            # threads may still send data of this rank; the scheduler ends with rank 0, which must be the last
            time.sleep(3 if ranks().is_main else 2)
        sys.stdout.flush()
        sys.stderr.flush()
        if status and detect_launcher() == HYDRA:
            _abort(status)
        os._exit(status)


def _abort(status: int) -> None:
    """Abort the job with mpiexec.hydra's PMI-1 protocol: if a rank only fails, hydra leaves the others waiting."""
    with suppress(OSError, UserError), socket.socket(fileno=os.dup(int(os.environ.get("PMI_FD", "-1")))) as channel:
        if peer_credentials(channel)[0] == _hydra_proxy()[0]:  # not another file with the same descriptor
            channel.sendall(f"cmd=abort exitcode={status}\n".encode())


def peer_credentials(channel: socket.socket) -> tuple[int, int]:
    """Returns process id and user id of the peer of a Unix socket (SO_PEERCRED)."""
    pid, user, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, user
