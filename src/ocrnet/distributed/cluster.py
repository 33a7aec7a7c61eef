"""Connects the ranks of all launchers with MindSpore's dynamic cluster, on every device.

MindSpore's own support of mpirun needs Open MPI 4 and an accelerator, and it no longer starts a job from a rank table.
Its dynamic cluster, which msrun uses too, works everywhere. It needs a scheduler process and `MS_*` variables, which
`join_cluster` derives from the launcher's variables.
"""

import hashlib
import os
import re
import socket
import subprocess
import sys
import time
import zlib
from contextlib import closing
from pathlib import Path

from ocrnet.distributed import rank_table
from ocrnet.distributed.launcher import (
    HYDRA,
    OPEN_MPI,
    RANK_TABLE,
    SLURM,
    Ranks,
    detect_launcher,
    job_id,
    peer_credentials,
    ranks,
    store_ranks,
)
from ocrnet.errors import UserError

_TIMEOUT = 600  # seconds to wait for the ranks of this machine, as in msrun


_TIME_LIMITS = {
    # A rank that downloads, compiles, evaluates or saves is slow, not dead. The heartbeats between the processes and
    # the launcher notice a dead one.
    "MS_TOPO_TIMEOUT": "7200",  # until all processes are connected; default 1800, under msrun --cluster_time_out
    "MS_CPU_COMM_OP_TIMEOUT": "86400",  # a collective on a CPU; default 30
    "HCCL_CONNECT_TIMEOUT": "7200",  # the first collective on Ascend, the largest value; default 120
    "HCCL_EXEC_TIMEOUT": "17340",  # a collective on Ascend, the largest value of a 910A; default 1836
}
"""Time limits in seconds; those set by the user are kept."""


def join_cluster() -> None:
    """Make this process a worker of MindSpore's dynamic cluster. Stores the ranks (`launcher.store_ranks`).

    Rank 0 starts the scheduler. Does nothing for a single process, under msrun and in a cluster set up by the user.

    On one machine the cluster uses loopback. On several machines the scheduler runs on the machine of mpirun (Open
    MPI), of the first task (srun) or of rank 0 (rank table), or at MS_SCHED_HOST and MS_SCHED_PORT.

    Raises:
        UserError: rank 0 is not on the scheduler's machine, the scheduler's address is unknown, or the other ranks of
            this machine did not connect within 10 minutes.
    """
    env, me = os.environ, ranks()
    for name, seconds in _TIME_LIMITS.items():
        env.setdefault(name, seconds)
    launcher = detect_launcher()
    own_scheduler = me.size > 1 and "MS_ROLE" not in env and launcher in (OPEN_MPI, HYDRA, SLURM, RANK_TABLE)
    store_ranks(own_scheduler)
    if not own_scheduler:
        return
    _undo_core_binding()
    one_machine = me.local_size == me.size
    if one_machine:
        host, port = "127.0.0.1", _free_port() if me.is_main else _port_from_rank_0()
    else:
        host, port = _scheduler_address()
    own = host if one_machine else _address_towards(host)
    if me.is_main and own != host:
        raise UserError(f"rank 0 is at {own}, but the scheduler at {host}. {_MACHINES[launcher].format(address=own)}")
    cluster = {"MS_WORKER_NUM": str(me.size), "MS_SCHED_HOST": host, "MS_SCHED_PORT": str(port)}
    if me.is_main:
        others = {name: value for name, value in env.items() if not name.startswith(("OMPI_", "PMIX_"))}
        command = [sys.executable, Path(__file__).with_name("scheduler.py"), str(os.getpid())]
        subprocess.Popen(command, env={**others, **cluster, "MS_ROLE": "MS_SCHED"}, stdin=subprocess.DEVNULL)
        if one_machine:
            _send_port(port, me)
    env.update({**cluster, "MS_ROLE": "MS_WORKER", "MS_NODE_ID": str(me.rank), "MS_WORKER_IP": own})
    env.update({"RANK_ID": str(me.rank), "RANK_SIZE": str(me.size)})  # as msrun does


def _undo_core_binding() -> None:
    """Undo the binding of processes to cores by mpirun and srun, which slows down MindSpore's threads.

    Under Slurm, use the cores of all tasks of this job on this machine; other jobs may use the remaining cores.
    """
    cores = set(range(os.cpu_count()))
    if detect_launcher() == SLURM:
        if not os.environ.get("SLURM_CPU_BIND_TYPE", "").startswith("mask_cpu"):
            return
        masks = (int(mask, 16) for mask in os.environ["SLURM_CPU_BIND_LIST"].split(","))
        cores = {core for mask in masks for core in range(mask.bit_length()) if mask >> core & 1}
    os.sched_setaffinity(0, cores)


_MACHINES = {
    OPEN_MPI: "Put rank 0's machine first in the host file, or add: mpirun -x MS_SCHED_HOST={address}",
    HYDRA: "Set rank 0's address and a free port of its machine: "
    "mpirun -genv MS_SCHED_HOST {address} -genv MS_SCHED_PORT 8118",
    SLURM: "Set the address of the first node: export MS_SCHED_HOST={address}",
    RANK_TABLE: "Set the address of rank 0's machine: export MS_SCHED_HOST={address}",
}
"""How to set the scheduler address for ranks on several machines."""


def _scheduler_address() -> tuple[str, int]:
    """Returns IPv4 address and port of the scheduler for a job on several machines."""
    env, launcher = os.environ, detect_launcher()
    host, job = env.get("MS_SCHED_HOST"), None
    if launcher == OPEN_MPI:
        job = env["PMIX_NAMESPACE"]
        mpirun = re.search(r"tcp://([\d.]+)", env.get("OMPI_MCA_orte_hnp_uri", ""))
        host = host or (mpirun and mpirun[1])
    elif launcher == SLURM:
        job = job_id()
        host = host or _first_host(env["SLURM_STEP_NODELIST"])
    elif launcher == RANK_TABLE:
        table = rank_table.read()
        job = str(table)
        host = host or table.machine(0)[0]
    # simultaneous jobs have different names; 20000 .. 29999 is below Linux's ephemeral ports
    port = int(env["MS_SCHED_PORT"]) if "MS_SCHED_PORT" in env else job and 20000 + zlib.crc32(job.encode()) % 10000
    if host is None or port is None:
        raise UserError(f"several machines: {_MACHINES[launcher].format(address='ADDRESS')}")
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        fix = _MACHINES[launcher].format(address="ADDRESS")
        raise UserError(f"{host}, the scheduler's machine: {error}. {fix}") from None
    if address.startswith("127."):
        raise UserError(
            f"{host}, the scheduler's machine, resolves to {address} here, which other machines cannot reach. "
            f"{_MACHINES[launcher].format(address='ADDRESS')}"
        )
    return address, port


def _first_host(hosts: str) -> str:
    """Returns the first host of a Slurm node list: gpu03-a for `gpu[03-07,12]-a,login1`."""
    first = re.match(r"(?:\[[^]]*\]|[^,[])+", hosts)[0]
    return re.sub(r"\[(\w+)[^]]*\]", r"\1", first)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _socket_name() -> str:
    """Returns the name of the socket that connects the ranks of this machine.

    It is in Linux's abstract namespace: the scope is the network namespace, as for loopback, and the socket disappears
    with its process, so a later job never finds an old socket.
    """
    return "\0ocrnet-port-" + hashlib.sha256(f"{os.getuid()} {job_id()}".encode()).hexdigest()


def _send_port(port: int, me: Ranks) -> None:
    """Send the scheduler's port from rank 0 to the other ranks of this machine."""
    deadline = time.monotonic() + _TIMEOUT
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(_socket_name())
        except OSError:
            raise UserError(f"another process of this job is also rank 0 ({job_id()})") from None
        listener.listen(128)
        missing = me.size - 1
        while missing:
            listener.settimeout(max(0.0, deadline - time.monotonic()))
            try:
                other = listener.accept()[0]
            except (TimeoutError, BlockingIOError):
                raise UserError(
                    f"{missing} of the other {me.size - 1} ranks of this machine did not connect within {_TIMEOUT} s "
                    f"({job_id()})"
                ) from None
            with other:
                if _of_this_user(other):
                    other.sendall(str(port).encode())
                    missing -= 1


def _port_from_rank_0() -> int:
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        with closing(socket.socket(socket.AF_UNIX)) as channel:
            channel.settimeout(5)
            try:
                channel.connect(_socket_name())
                if _of_this_user(channel) and (port := channel.recv(16)):
                    return int(port)
            except OSError:
                pass
        time.sleep(0.02)
    raise UserError(f"rank 0 did not start within {_TIMEOUT} s ({job_id()})")


def _of_this_user(channel: socket.socket) -> bool:
    """Returns whether this user owns the peer process: any user can bind a name in the abstract namespace."""
    return peer_credentials(channel)[1] == os.getuid()


def _address_towards(host: str) -> str:
    """Returns this machine's address on the route to `host`; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return probe.getsockname()[0]
