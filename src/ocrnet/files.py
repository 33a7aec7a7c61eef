"""Reads untrusted files: only regular files of limited size, anything else raises OSError. SHA-256 of a file."""

import codecs
import errno
import hashlib
import stat
from pathlib import Path


def read_bytes(path: Path, limit: int) -> bytes:
    """Returns the content of a file.

    Args:
        limit: maximum file size in bytes.

    Raises:
        OSError: the file cannot be read, is larger than `limit`, or is a folder, pipe or device. (Opening a pipe blocks
            until there is a writer; a device may never end.)
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
            data = file.read(status.st_size + 1)  # not `limit`: Python allocates as much as it is asked to read
            if len(data) > status.st_size:  # the file grows, or is in /proc and reports 0 bytes
                data += file.read(limit + 1 - len(data))
        if len(data) <= limit:
            return data
    raise OSError(errno.EFBIG, f"the file is larger than {limit:,} bytes")


def read_text(path: Path, limit: int = 2**28, errors: str = "strict") -> str:
    """Returns the text of a file in UTF-8, with or without a byte-order mark, or in UTF-16 with one.

    Args:
        limit: maximum file size in bytes.
        errors: "surrogateescape" keeps bytes that are not UTF-8, e.g. in file names.

    Raises:
        OSError: see `read_bytes`.
        UnicodeDecodeError: the file has another encoding.
    """
    content = read_bytes(path, limit)
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors)


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file of any size, in hexadecimal digits. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
