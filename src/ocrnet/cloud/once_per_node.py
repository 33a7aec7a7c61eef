"""Runs a task, such as a download, in one process per machine."""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ocrnet.distributed.launcher import job_id, ranks
from ocrnet.errors import UserError

_TIMEOUT = 50  # seconds to wait for local rank 0 to start the task


@contextmanager
def once_per_node(fetch: Callable[[], None], inputs: tuple) -> Iterator[None]:
    """Local rank 0 calls `fetch`; the other processes wait for it, and fail if it fails.

    The state is signalled by sockets in Linux's abstract namespace: one exists while local rank 0 is alive, another one
    once it is done. The system removes them with the process, so a later job never finds old ones. Rank 0 need not
    answer, which it could not do while MindSpore holds the GIL and waits for the other ranks.

    Raises:
        UserError: as `fetch`; in the other processes if local rank 0 fails, dies, or does not start.
    """
    if ranks().size == 1:
        fetch()
        yield
        return
    job_name = hashlib.sha256(repr((os.getuid(), os.getcwd(), job_id(), inputs)).encode()).hexdigest()
    alive_name, done_name = f"\0ocrnet-{job_name}", f"\0ocrnet-{job_name}-done"
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as done:
        if ranks().local_rank:
            _wait(alive, alive_name, done_name)
            yield
            return
        try:
            alive.bind(alive_name)
        except OSError:
            raise UserError("another job with the same inputs and outputs is running on this machine") from None
        alive.listen(128)
        try:
            fetch()
        except BaseException as error:
            alive.settimeout(2)  # for processes that connect late
            with suppress(OSError):
                while True:
                    with alive.accept()[0] as other:
                        other.sendall(str(error).encode())
            raise
        done.bind(done_name)
        done.listen(128)
        yield


def _wait(alive: socket.socket, alive_name: str, done_name: str) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not _connects(alive, alive_name):
        if time.monotonic() > deadline:
            raise UserError(f"local rank 0 of this machine did not start to download within {_TIMEOUT} s")
        time.sleep(0.2)
    alive.settimeout(0.2)
    while True:
        with socket.socket(socket.AF_UNIX) as done:
            if _connects(done, done_name):
                return
        with suppress(TimeoutError):
            try:
                message = alive.recv(1 << 16).decode()
            except ConnectionError:
                message = ""
            raise UserError(f"local rank 0 of this machine could not download the inputs: {message or 'it was killed'}")


def _connects(channel: socket.socket, address: str) -> bool:
    try:
        channel.connect(address)
    except OSError:
        return False
    return True
