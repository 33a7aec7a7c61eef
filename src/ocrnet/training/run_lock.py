"""One run owns its `save_dir`: a lock that ends with the process, however it ends."""

import fcntl
import os
import socket
import sys
import time
from pathlib import Path
from typing import BinaryIO

from ocrnet.errors import UserError

_NAME = ".lock"


def lock(folder: Path) -> BinaryIO:
    """Make `folder` and lock it until the returned file is closed or this process ends, be it by a SIGKILL.

    Where the file system has no locks this is said on stderr, and nothing is locked.

    Raises:
        UserError: another process has the lock, or `folder` cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _NAME).open("a+b")  # never truncated before the lock is held: the holder's name is in it
    except OSError as error:
        raise UserError(f"save_dir {folder}: cannot write here: {error.strerror}. Choose another --save_dir.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode(errors="replace").strip() or "an unknown process"
        file.close()
        raise UserError(
            f"save_dir {folder}: in use by another run ({holder}). Wait for it, stop it, or choose another --save_dir."
        ) from None
    except OSError as error:
        print(
            f"warning: save_dir {folder}: no lock on this file system ({error.strerror}): take care that no other run "
            "writes here",
            file=sys.stderr,
        )
    file.truncate(0)
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    file.write(f"process {os.getpid()} on {socket.gethostname()}, started {started}\n".encode())
    file.flush()
    return file
