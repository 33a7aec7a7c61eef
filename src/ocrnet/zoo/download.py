"""Downloads a file: resumed after a cut connection, verified, with a progress bar."""

import os
from pathlib import Path

import requests

from ocrnet import files
from ocrnet.errors import UserError
from ocrnet.runtime import progress

_TIMEOUT = (10, 60)  # seconds: to connect, and between two blocks
_BLOCK = 1 << 16  # bytes; of a cut connection, an incomplete block is lost


class DownloadError(Exception):
    """A download failed; the message is the reason."""


class WrongContent(DownloadError):
    """The server has another file under this name."""


def download(url: str, file: Path, sha256: str = "") -> None:
    """Downloads `url` to `file`. An interrupted download is kept in `file`.part, and the next call resumes it.

    Args:
        sha256: the SHA-256 of the content, or the first digits of it; "" if none is published.

    Raises:
        DownloadError: the server cannot be reached or does not have the file, or the SHA-256 is wrong.
        OSError: the file cannot be written.
    """
    part = file.with_name(f"{file.name}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    size = -1
    while not _receive(url, part):
        now = part.stat().st_size if part.exists() else -1
        if 0 <= now <= size:
            raise DownloadError(f"the connection ends after {now} bytes each time, and the server cannot resume")
        size = now
    try:
        verify(part, sha256)
    except UserError as error:
        part.unlink()
        reason = str(error).partition(": ")[2]
        raise WrongContent(f"this is not the published file: {reason}; it was deleted") from None
    os.replace(part, file)


def verify(file: Path, sha256: str) -> None:
    """Raises UserError if the SHA-256 of a file does not start with `sha256`."""
    found = files.sha256(file)
    if not found.startswith(sha256):
        raise UserError(f"{file}: its SHA-256 starts with {found[:8]}, the published one with {sha256}")


def _receive(url: str, part: Path) -> bool:
    """Appends the missing bytes of `url` to `part`. Returns whether it is complete; False: call again for the rest.

    Raises:
        DownloadError: the server has not sent a single byte.
    """
    version = part.with_name(f"{part.name}.version")  # which version of the file the bytes in `part` are from
    if not (part.exists() and version.exists()):
        part.unlink(missing_ok=True)
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # lengths count bytes of the file
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text(encoding="utf-8")}
    came = 0
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()  # the file on the server is another one: begin again
                return False
            if not answer.ok:
                raise DownloadError(f"the server answers {answer.status_code} {answer.reason}")
            if answer.status_code != requests.codes.partial_content:
                have = 0
                _note_version(answer, version)
            length = int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
            total = None if length is None else have + length
            name = part.name.removesuffix(".part")
            with (
                part.open("ab" if have else "wb") as copy,
                progress.bar(total=total, initial=have, desc=name, unit="B", unit_scale=True) as bar,
            ):
                for block in answer.iter_content(_BLOCK):
                    copy.write(block)
                    came += len(block)
                    bar.update(len(block))
            if total is not None and have + came != total:
                raise requests.ConnectionError(f"the connection ended after {have + came} of {total} bytes")
    except requests.RequestException as error:
        if came == 0:
            raise DownloadError(_reason(error)) from None
        return False
    version.unlink(missing_ok=True)
    return True


def _note_version(answer: requests.Response, version: Path) -> None:
    """Stores the server's identifier of this version of the file: without one, a download cannot be resumed."""
    identifier = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    if identifier and not identifier.startswith("W/"):  # a weak one does not identify bytes
        version.write_text(identifier, encoding="utf-8")
    else:
        version.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """Returns the innermost cause of an error of requests in one line."""
    while inner := error.__cause__ or error.__context__ or getattr(error, "reason", None):
        if not isinstance(inner, Exception):
            break
        error = inner
    return " ".join(str(error).split()) or type(error).__name__
