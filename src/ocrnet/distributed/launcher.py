"""Which of a job's processes this one is, whoever started it: mpirun, msrun, ModelArts' rank table, or nobody."""

import os
import sys
import time
from dataclasses import dataclass


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
    def first(self) -> bool:
        """Whether this is the process that speaks and writes for all."""
        return self.rank == 0


ALONE = Ranks()


def ranks() -> Ranks:
    """From the environment alone, so it can be asked before MindSpore is imported."""
    env = os.environ
    if "OMPI_COMM_WORLD_RANK" in env:
        names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
        return Ranks(*(int(env[f"OMPI_COMM_WORLD_{name}"]) for name in names))
    if "MS_ROLE" in env:  # msrun
        size, rank, local_rank = (int(env.get(name, "0")) for name in ("MS_WORKER_NUM", "RANK_ID", "DEVICE_ID"))
        return Ranks(rank, size, local_rank, size if env.get("MS_SCHED_HOST") == "127.0.0.1" else 1)
    if "RANK_TABLE_FILE" in env:
        local_rank = env.get("ASCEND_DEVICE_ID", env.get("DEVICE_ID", "0"))
        return Ranks(int(env.get("RANK_ID", "0")), int(env.get("RANK_SIZE", "1")), int(local_rank))
    return ALONE


def is_scheduler() -> bool:
    """Whether this process only brings the others together: msrun starts one with the workers' own command."""
    return os.environ.get("MS_ROLE") == "MS_SCHED"


def leave(status: int) -> None:
    """End this process at once: when it has failed and is one of several, and always under mpirun on a CPU.

    MindSpore's own end waits for processes that may be gone, and with a scheduler of ours it sometimes crashes when all
    is done. msrun's scheduler, however, takes for dead who does not say goodbye.
    """
    own_scheduler = "OMPI_COMM_WORLD_RANK" in os.environ and "MS_ROLE" in os.environ
    if ranks().size > 1 and (status or own_scheduler):
        if status == 0:
            # what this rank has sent may still be on its way in a thread, and the scheduler goes with rank 0, the last
            time.sleep(3 if ranks().first else 2)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
