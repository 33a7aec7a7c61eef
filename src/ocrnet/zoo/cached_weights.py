"""The cache of published weights: each file is fetched, verified and converted once, then read from the disk.

The cache is a folder: OCRNET_CACHE, or the platform's cache folder. Several processes may use it at a time.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from ocrnet.errors import UserError
from ocrnet.zoo.download import DownloadError, WrongContent, download, verify
from ocrnet.zoo.published import PublishedFile

CACHE, MIRROR = "OCRNET_CACHE", "OCRNET_WEIGHTS_URL"


def cache_folder() -> Path:
    """Returns the folder of the cache; it may not exist yet."""
    return Path(os.environ.get(CACHE) or user_cache_path("ocrnet", appauthor=False))


def converted_path(name: str) -> Path:
    """Returns the path of converted weights in the cache; the file may not exist yet."""
    return cache_folder() / f"{name}.ckpt"


def fetch(published: PublishedFile, convert: Callable[[Path, Path], None]) -> Path:
    """Returns the path of a file's converted weights; fetches, verifies and converts the file if they are not there.

    The file is taken from the cache folder, if someone has put it there, from OCRNET_WEIGHTS_URL (a folder or an
    address), or from its publisher.

    Args:
        convert: takes the publisher's file and the .ckpt to write.

    Raises:
        UserError: the file cannot be had, is damaged, or cannot be converted; or the cache cannot be written.
    """
    converted = converted_path(published.name)
    if converted.is_file():
        return converted
    with _locked(converted):
        if not converted.is_file():  # another process may have written it meanwhile
            file, is_ours = _obtain(published)
            convert(file, converted)
            if is_ours:
                file.unlink()
    return converted


@contextmanager
def _locked(converted: Path) -> Iterator[None]:
    """Context in which no other process fetches the same weights."""
    folder = converted.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{converted.stem}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{converted.stem}: another process is fetching these weights; waiting for it", file=sys.stderr)
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the cache of weights: {error.strerror or error}. "
            f"Set {CACHE} to a folder that can be written."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _obtain(published: PublishedFile) -> tuple[Path, bool]:
    """Returns (the publisher's file, verified; whether it was downloaded just now)."""
    mine, mirror = cache_folder() / published.file_name, os.environ.get(MIRROR, "")
    is_address = mirror.startswith(("http://", "https://"))
    candidates = [mine] if is_address or not mirror else [mine, _folder(mirror) / published.file_name]
    for file in candidates:
        if file.is_file():
            verify(file, published.sha256)
            return file, False
    if mirror and not is_address:
        raise UserError(f"{published.name}: {published.file_name} is not in {_folder(mirror)} ({MIRROR})")
    url = f"{mirror.rstrip('/')}/{quote(published.file_name)}" if is_address else published.url
    print(f"{published.name}: downloading {url} to {mine.parent}", file=sys.stderr)
    try:
        download(url, mine, published.sha256)
    except WrongContent as error:
        raise UserError(f"{published.name}: {url}: {error}") from None
    except DownloadError as error:
        raise UserError(
            f"{published.name}: cannot download {url}: {error}. Without internet access, copy "
            f"{published.file_name} to {mine.parent}, or set {MIRROR} to a folder or a server that has it "
            f"(published at {published.url})."
        ) from None
    except OSError as error:
        raise UserError(f"{mine}: cannot write this file: {error.strerror}. Set {CACHE} to another folder.") from None
    return mine, True


def _folder(mirror: str) -> Path:
    return Path(unquote(urlparse(mirror).path)) if mirror.startswith("file://") else Path(mirror)
