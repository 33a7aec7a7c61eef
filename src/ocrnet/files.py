"""Files that come from elsewhere: a regular file of a bounded size is read, everything else is an OSError."""

import codecs
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


def read_text(path: Path, limit: int = 2**28, errors: str = "strict") -> str:
    """Text that somebody has written with any editor: UTF-8, with or without a byte-order mark, or UTF-16 with one.

    Args:
        limit: as of `read_bytes`.
        errors: "surrogateescape" keeps bytes that are not UTF-8, as in names of files.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it is no such text.
    """
    content = read_bytes(path, limit)
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors)
