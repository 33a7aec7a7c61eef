"""Files that come from elsewhere: a regular file of a bounded size is read, everything else is an OSError."""

import errno
import stat
from pathlib import Path


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file.

    Args:
        limit: the largest size in bytes that is read.

    Raises:
        OSError: the file cannot be read, is a folder, pipe or device (opening a pipe waits for a writer, a device may
            have no end), or is larger than `limit`.
    """
    try:
        status = path.stat()
    except ValueError as error:  # a null byte in the name
        raise OSError(errno.EINVAL, str(error)) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise OSError(errno.EINVAL, f"this is {kind}, not a regular file")
    if status.st_size <= limit:
        with path.open("rb") as file:
            data = file.read(status.st_size + 1)  # not `limit`: Python takes memory for what it is asked
            if len(data) > status.st_size:  # it grows, or is one of /proc that claims 0 bytes
                data += file.read(limit + 1 - len(data))
        if len(data) <= limit:
            return data
    raise OSError(errno.EFBIG, f"the file is larger than {limit:,} bytes")
