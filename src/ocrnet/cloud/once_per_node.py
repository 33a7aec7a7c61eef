"""Work that one process of each machine does for the others, such as fetching a data set."""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ocrnet.distributed.launcher import job_id, ranks
from ocrnet.errors import UserError

_TIMEOUT = 50  # seconds until the process that does the work must have begun


@contextmanager
def once_per_node(fetch: Callable[[], None], inputs: tuple) -> Iterator[None]:
    """Local rank 0 calls `fetch`; the other processes wait for it, and fail with it.

    Sockets in Linux's abstract namespace tell them: one is there while it lives, another when it is done. They go with
    their process, however that ends, so a later job finds nothing of this one's; and nothing has to be answered, which
    MindSpore, waiting for the other ranks with Python's lock in its hands, would not allow.

    Raises:
        UserError: as `fetch`; in the others when it fails, dies, or does not begin.
    """
    if ranks().size == 1:
        fetch()
        yield
        return
    job_name = hashlib.sha256(repr((os.getuid(), os.getcwd(), job_id(), inputs)).encode()).hexdigest()
    lives, is_done = f"\0ocrnet-{job_name}", f"\0ocrnet-{job_name}-done"
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as done:
        if ranks().local_rank:
            _wait(alive, lives, is_done)
            yield
            return
        try:
            alive.bind(lives)
        except OSError:
            raise UserError("another job with the same inputs and outputs runs on this machine") from None
        alive.listen(128)
        try:
            fetch()
        except BaseException as error:
            alive.settimeout(2)  # for those who come late
            with suppress(OSError):
                while True:
                    with alive.accept()[0] as other:
                        other.sendall(str(error).encode())
            raise
        done.bind(is_done)
        done.listen(128)
        yield


def _wait(alive: socket.socket, lives: str, is_done: str) -> None:
    last = time.monotonic() + _TIMEOUT
    while not _connects(alive, lives):
        if time.monotonic() > last:
            raise UserError(f"local rank 0 of this machine did not begin to fetch within {_TIMEOUT} s")
        time.sleep(0.2)
    alive.settimeout(0.2)
    while True:
        with socket.socket(socket.AF_UNIX) as done:
            if _connects(done, is_done):
                return
        with suppress(TimeoutError):
            try:
                said = alive.recv(1 << 16).decode()
            except ConnectionError:
                said = ""
            raise UserError(f"local rank 0 of this machine could not fetch the inputs: {said or 'it was killed'}")


def _connects(channel: socket.socket, address: str) -> bool:
    try:
        channel.connect(address)
    except OSError:
        return False
    return True
