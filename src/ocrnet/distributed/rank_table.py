"""Ascend's rank table: the machines, devices and ranks of a job, which the platform writes to RANK_TABLE_FILE.

MindSpore no longer starts a job from it, and changes its compiler settings where it finds the variable. So `hide` takes
the variable out of the environment before MindSpore is imported, and `cluster.py` builds a cluster of the same ranks.
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ocrnet.errors import UserError

_VARIABLES = ("RANK_TABLE_FILE", "MINDSPORE_HCCL_CONFIG_PATH")
PATH_VARIABLE = "OCRNET_RANK_TABLE"


@dataclass(frozen=True)
class RankTable:
    """Machines of a job in the order of the file; each is (address, {rank: device id})."""

    machines: tuple[tuple[str, dict[int, int]], ...]

    @property
    def size(self) -> int:
        """Number of ranks."""
        return sum(len(devices) for _, devices in self.machines)

    def machine(self, rank: int) -> tuple[str, dict[int, int]]:
        """Returns the machine of a rank."""
        return next(machine for machine in self.machines if rank in machine[1])


def hide() -> None:
    """Move the file's path to a variable of our own, unless msrun, which has an option for the file, sets it."""
    env = os.environ
    if "MS_ROLE" in env:
        return
    for name in _VARIABLES:
        if name in env:
            env[PATH_VARIABLE] = env.pop(name)


def read() -> RankTable:
    """Read the rank table of this job.

    Raises:
        UserError: the file cannot be read, has no `server_list`, or its ranks are not 0 to their number - 1.
    """
    return _read(Path(os.environ[PATH_VARIABLE]))


@cache
def _read(path: Path) -> RankTable:
    try:
        servers = json.loads(path.read_text(encoding="utf-8"))["server_list"]
        machines = tuple(
            (
                str(server["server_id"]),
                {int(device["rank_id"]): int(device["device_id"]) for device in server["device"]},
            )
            for server in servers
        )
    except OSError as error:
        raise UserError(f"RANK_TABLE_FILE={path}: cannot read it: {error.strerror}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"RANK_TABLE_FILE={path}: not a rank table with a server_list of devices, their device_id and rank_id "
            f"({type(error).__name__}: {error}). Start the ranks with msrun instead, after: unset RANK_TABLE_FILE"
        ) from None
    given = sorted(rank for _, devices in machines for rank in devices)
    listed = sum(len(server["device"]) for server in servers)
    if not given or given != list(range(listed)):
        raise UserError(f"RANK_TABLE_FILE={path}: has {listed} devices with the ranks {given}, not 0 to {listed - 1}")
    return RankTable(machines)
