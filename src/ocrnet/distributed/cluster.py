"""mpirun on a CPU: MindSpore's collectives know mpirun on Ascend and GPU only.

On a CPU they want its dynamic cluster, a scheduler process and `MS_*` variables, which `join_cluster` derives from what
OpenMPI tells each process.
"""

import os
import re
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

from ocrnet.distributed.launcher import Ranks, ranks
from ocrnet.errors import UserError


def join_cluster() -> None:
    """Under mpirun on a CPU: make this process a worker of MindSpore's dynamic cluster; rank 0 starts the scheduler.

    On one machine the cluster speaks over loopback. On several the scheduler is where mpirun is, or at MS_SCHED_HOST
    and MS_SCHED_PORT, handed on with `mpirun -x`.

    Raises:
        UserError: rank 0 is not on the scheduler's machine.
    """
    env, me = os.environ, ranks()
    env.setdefault("MS_CPU_COMM_OP_TIMEOUT", "86400")  # seconds; the default of 30 ends a job whose rank is only slow
    if me.size == 1 or "MS_ROLE" in env or "OMPI_COMM_WORLD_SIZE" not in env:
        return
    # mpirun binds each process to a core; MindSpore's own threads, made for all cores, then stand in each other's way
    os.sched_setaffinity(0, range(os.cpu_count()))
    host, port = _scheduler_address(me)
    own = host if host.startswith("127.") else _address_towards(host)
    if me.first and own != host:
        raise UserError(
            f"rank 0 is at {own}, the scheduler would be at {host}, where mpirun is. "
            f"Name rank 0's machine first in the host file, or add: mpirun -x MS_SCHED_HOST={own}"
        )
    cluster = {"MS_WORKER_NUM": str(me.size), "MS_SCHED_HOST": host, "MS_SCHED_PORT": str(port)}
    if me.first:
        others = {name: value for name, value in env.items() if not name.startswith(("OMPI_", "PMIX_"))}
        command = [sys.executable, Path(__file__).with_name("scheduler.py")]
        subprocess.Popen(command, env={**others, **cluster, "MS_ROLE": "MS_SCHED"}, stdin=subprocess.DEVNULL)
    env.update({**cluster, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": str(me.rank), "MS_WORKER_IP": own})


def _scheduler_address(me: Ranks) -> tuple[str, int]:
    env = os.environ
    if me.local_size == me.size:
        return "127.0.0.1", _agreed_port(me)
    # jobs at one time have different name spaces; 20000 .. 29999 lies below the ports that Linux hands out
    port = 20000 + zlib.crc32(env["PMIX_NAMESPACE"].encode()) % 10000
    mpirun = re.search(r"tcp://([\d.]+)", env.get("OMPI_MCA_orte_hnp_uri", ""))
    host = env.get("MS_SCHED_HOST", mpirun[1] if mpirun else None)
    if host is None:
        raise UserError("several machines: name the one of rank 0 with mpirun -x MS_SCHED_HOST=ADDRESS")
    return host, int(env.get("MS_SCHED_PORT", port))


def _agreed_port(me: Ranks) -> int:
    """A free port, found by rank 0 and told to the others in the job's own folder, which mpirun removes."""
    note = Path(os.environ["PMIX_SERVER_TMPDIR"], f"scheduler_port.{os.environ['PMIX_NAMESPACE']}")
    if me.first:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            note.with_suffix(".new").write_text(str(probe.getsockname()[1]))
        note.with_suffix(".new").rename(note)
    while not note.exists():
        time.sleep(0.02)
    return int(note.read_text())


def _address_towards(host: str) -> str:
    """This machine's address on the way to `host`; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return probe.getsockname()[0]
