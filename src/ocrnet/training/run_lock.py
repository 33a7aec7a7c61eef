"""A lock that gives one run exclusive use of its `save_dir`. The system releases it when the process ends."""

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
    """Create `folder` and lock it until the returned file is closed or this process ends, even by SIGKILL.

    On a file system without locks, prints a warning and locks nothing.

    Raises:
        UserError: another process holds the lock, or `folder` cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _NAME).open("a+b")  # do not truncate before the lock is held: it names the holder
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
            f"warning: save_dir {folder}: no lock on this file system ({error.strerror}): make sure that no other run "
            "writes here",
            file=sys.stderr,
        )
    file.truncate(0)
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    file.write(f"process {os.getpid()} on {socket.gethostname()}, started {started}\n".encode())
    file.flush()
    return file
