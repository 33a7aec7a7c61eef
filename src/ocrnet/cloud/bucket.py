"""Downloads and uploads folders from and to a bucket, `obs://bucket/folder` or `s3://`. Independent of training.

The state is in the bucket only: the listing has sizes and MD5s, an unfinished multipart upload its parts. A killed
transfer resumes when it is started again. Only this file and bucket_client.py use the OBS SDK.
"""

import hashlib
import os
import re
import shutil
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, BinaryIO, NamedTuple, TypeVar

from ocrnet.cloud.bucket_client import Client, RequestRefused, TransientError
from ocrnet.errors import UserError
from ocrnet.runtime import device, progress

PART = 8 << 20
"""Part size in bytes; larger files use multipart uploads."""
_workers = 8
_rate = 0.0  # bytes per second of each worker; 0: unlimited
_SCRATCH = ".fetching"
_MD5 = "md5chksum"  # metadata key of Huawei's tools

T = TypeVar("T")
Outdated = Callable[[set[str]], Iterable[str]]


class ObjectInfo(NamedTuple):
    """An object of the bucket."""

    size: int
    etag: str


def throttle() -> None:
    """Limit reading and uploading to one worker and 4 MB/s per core, about 2 % of the CPU time of a training."""
    global _workers, _rate
    _workers, _rate = 1, 4e6 * device.cores()


def is_url(place: str | None) -> bool:
    """Returns whether `place` is a bucket URL; anything else is a local path."""
    return bool(place) and place.startswith(("obs://", "s3://"))


def list_files(url: str) -> set[str]:
    """Returns the object names under a URL, relative to it.

    Raises:
        UserError: no access, or the server cannot be reached.
    """
    if mox := _moxing():
        return set(mox.list_directory(url, recursive=True)) if mox.exists(url) else set()
    return set(_Bucket(url).objects())


def download(url: str, folder: Path) -> None:
    """Download all objects under `url`, or the single object `url`, into `folder`.

    Skips identical files. A file gets its name after it is complete and its MD5 was verified.

    Raises:
        UserError: no objects, not enough space, no access, or the server cannot be reached.
    """
    scratch = folder / _SCRATCH
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        if mox := _moxing():
            if mox.is_directory(url):
                mox.copy_parallel(url, str(scratch))
            else:
                mox.copy(url, str(scratch / PurePosixPath(url).name))
            for file in [file for file in scratch.rglob("*") if file.is_file()]:
                _move(file, folder / file.relative_to(scratch))
        else:
            _Bucket(url).download(folder, scratch)
        shutil.rmtree(scratch)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: cannot write files from {url}: {error.strerror or error}. Fix this and start "
            "again: completed downloads are kept."
        ) from None


def upload(
    folder: Path, files: Iterable[str], url: str, last: str = "", outdated: Outdated = lambda stored: ()
) -> None:
    """Upload files of `folder`, given relative to it, to `url`. Skips identical objects.

    Args:
        last: a file that is opened first and uploaded after all others, so that the files it refers to exist.
        outdated: returns which of the object names under `url` to delete.

    Raises:
        UserError: a file cannot be read, no access, or the server cannot be reached.
    """
    others = sorted(set(files) - {last})
    try:
        if mox := _moxing():
            _parallel_map(lambda name: mox.copy(str(folder / name), f"{url}/{name}"), others)
            if last and (folder / last).exists():
                mox.copy(str(folder / last), f"{url}/{last}")
            _parallel_map(lambda name: mox.remove(f"{url}/{name}"), outdated(list_files(url)))
        else:
            _Bucket(url).upload(folder, others, last, outdated)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot upload this to {url}: {error.strerror or error}") from None


class _Bucket:
    """One folder of a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.client = Client(self.url)
        self.prefix = self.client.folder
        self.moved, self.lock = 0, Lock()

    def objects(self) -> dict[str, ObjectInfo]:
        """Returns {name under the URL: object}. An object with exactly this URL has the name ""."""
        found: dict[str, ObjectInfo] = {}
        start, more = None, True
        while more:
            page = self.client.call("listObjects", prefix=self.prefix, marker=start, max_keys=1000).body
            for entry in page.contents:
                name = entry.key.removeprefix(self.prefix)
                if not entry.key.endswith("/") and (not self.prefix or not name or name[0] == "/"):
                    found[name.removeprefix("/")] = ObjectInfo(entry.size, entry.etag.strip('"'))
                start = entry.key
            more = page.is_truncated
        return found

    def download(self, folder: Path, scratch: Path) -> None:
        stored = self.objects()
        if not stored:
            raise UserError(f"{self.url}: no objects found")
        if "" in stored:
            self.prefix, _, name = self.prefix.rpartition("/")
            stored = {name: stored[""]}
        if bad := [name for name in stored if name[0] == "/" or ".." in PurePosixPath(name).parts]:
            raise UserError(f"{self.url}/{bad[0]}: this name points outside the folder; rename the object")

        same = _parallel_map(lambda name: self._same(folder / name, name, stored[name]), stored)
        downloads = [name for name in stored if not same[name]]
        size = sum(stored[name].size for name in downloads)
        room = shutil.disk_usage(folder).free + sum(file.stat().st_size for file in scratch.iterdir())
        if size > room:
            raise UserError(f"{folder}: {self.url} needs {size / 1e9:.2f} GB, {room / 1e9:.2f} GB are free")
        self._open_bar(size)
        _parallel_map(lambda name: self._get(name, stored[name], folder, scratch), downloads)
        self._close_bar(f"{len(downloads)} of {len(stored)} files downloaded")
        local = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        if more := {name for name in local - stored.keys() if not name.startswith(_SCRATCH)}:
            print(
                f"warning: {folder} has {len(more)} files that are not in the bucket, such as {min(more)}",
                file=sys.stderr,
            )

    def upload(self, folder: Path, others: list[str], last: str, outdated: Outdated) -> None:
        stored, unfinished = self.objects(), self._unfinished_uploads()
        self._open_bar(0)
        sent: list[bool] = []

        def send(name: str, file: BinaryIO) -> None:
            sent.append(self._put(name, file, stored.get(name), unfinished.get(name, [])))

        def send_if_small(name: str) -> bool:
            with (
                suppress(FileNotFoundError),
                (folder / name).open("rb") as file,
            ):  # old checkpoints may be deleted meanwhile
                if os.fstat(file.fileno()).st_size > PART:
                    return False
                send(name, file)
            return True

        with ExitStack() as opened:
            final = opened.enter_context((folder / last).open("rb")) if (folder / last).is_file() else None
            for name, done in sorted(_parallel_map(send_if_small, others).items()):
                if not done:  # large files one by one, with parallel parts
                    with suppress(FileNotFoundError), (folder / name).open("rb") as file:
                        send(name, file)
            if final:
                send(last, final)
        for name in outdated(set(stored)):
            self.client.call("deleteObject", self._key(name))
        for name, uploads in unfinished.items():  # of deleted files, or files already in the bucket
            for upload in uploads:
                self._abort(name, upload)
        self._close_bar(f"{sum(sent)} of {len(sent)} files uploaded")

    def _open_bar(self, size: int) -> None:
        self.bar = progress.bar(total=size, desc=self.url, unit="B", unit_scale=True, leave=False)

    def _count(self, size: int) -> None:
        with self.lock:
            self.moved += size
            self.bar.update(size)

    def _close_bar(self, done: str) -> None:
        self.bar.close()
        progress.write(f"{self.url}: {done} ({self.moved / 1e6:.1f} MB), the others are unchanged")

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _md5(self, name: str, stored: ObjectInfo | None = None) -> str:
        """Returns the MD5 of an object; "" if it was uploaded in parts without MD5 metadata."""
        if stored and re.fullmatch("[0-9a-f]{32}", stored.etag):
            return stored.etag
        return dict(self.client.call("getObjectMetadata", self._key(name)).header).get(_MD5, "")

    def _same(self, file: Path, name: str, stored: ObjectInfo) -> bool:
        if not file.is_file() or file.stat().st_size != stored.size:
            return False
        with file.open("rb") as content:
            return self._md5(name, stored) in ("", _file_md5(content, stored.size))

    def _get(self, name: str, stored: ObjectInfo, folder: Path, scratch: Path) -> None:
        """Download one object. Continues a partial download of the same content."""
        part = scratch / hashlib.md5(f"{name} {stored}".encode()).hexdigest()
        expected = self._md5(name, stored)

        def attempt() -> None:
            with part.open("ab+") as file:
                if file.tell() < stored.size:
                    start = self.client.sdk.GetObjectHeader(range=f"{file.tell()}-")
                    stream = self.client.request("getObject", self._key(name), headers=start).body
                    if stream.etag.strip('"') != stored.etag:
                        raise UserError(f"{self.url}/{name}: changed during the download; start again")
                    try:
                        while block := self.client.read(stream.response):
                            file.write(block)
                            self._count(len(block))
                    finally:
                        stream.response.close()
                    file.flush()
                if file.tell() == stored.size and expected in ("", _file_md5(file, stored.size)):
                    return
            part.unlink()
            raise TransientError("size or MD5 of the download does not match the object")

        self.client.retry(attempt)
        _move(part, folder / name)

    def _put(self, name: str, file: BinaryIO, stored: ObjectInfo | None, unfinished: list[str]) -> bool:
        """Upload a file at its current size (it may grow meanwhile). Returns False if the object is identical."""
        size = os.fstat(file.fileno()).st_size
        md5 = _file_md5(file, size)
        if stored and stored.size == size and self._md5(name, stored) == md5:
            return False
        self.bar.total += size
        if size > PART:
            self._put_parts(name, file, size, md5, unfinished)
        else:
            self._put_block("putContent", self._key(name), os.pread(file.fileno(), size, 0), {})
        return True

    def _put_parts(self, name: str, file: BinaryIO, size: int, md5: str, unfinished: list[str]) -> None:
        key, length = self._key(name), max(PART, -(-size // 10000))  # 10,000 parts at most
        numbers = range(1, -(-size // length) + 1)

        def block(number: int) -> bytes:
            return os.pread(file.fileno(), min(length, size - (number - 1) * length), (number - 1) * length)

        upload, there = "", {}
        for candidate in unfinished:  # look for an upload of this file's first parts
            parts = self._parts(key, candidate)
            equal = (n in numbers and hashlib.md5(block(n)).hexdigest() == parts[n] for n in parts)
            if parts and not upload and all(equal):
                upload, there = candidate, parts
            else:
                self._abort(name, candidate)
        if not upload:
            upload = self.client.call("initiateMultipartUpload", key, metadata={_MD5: md5}).body.uploadId

        def send(number: int) -> str:
            return self._put_block("uploadPart", key, block(number), {"partNumber": number, "uploadId": upload})

        there |= _parallel_map(send, [number for number in numbers if number not in there])
        parts = [self.client.sdk.CompletePart(number, there[number]) for number in numbers]
        try:
            self.client.call(
                "completeMultipartUpload", key, upload, self.client.sdk.CompleteMultipartUploadRequest(parts)
            )
        except RequestRefused as error:  # an earlier try may have succeeded without its response arriving
            if name not in self.objects() or self._md5(name) != md5:
                raise error from None
        if self._md5(name) != md5 and unfinished:
            # the upload was started with the MD5 of an earlier, shorter file
            self._put_parts(name, file, size, md5, [])

    def _put_block(self, method: str, key: str, data: bytes, options: dict[str, Any]) -> str:
        """Upload bytes. The server verifies their MD5, which is returned."""
        digest = hashlib.md5(data)
        check = b64encode(digest.digest()).decode()
        whole = {"headers": self.client.sdk.PutObjectHeader(md5=check, contentLength=len(data))}
        options |= whole if method == "putContent" else {"md5": check, "partSize": len(data)}
        # a stream, because the SDK converts bytes to text for its log
        self.client.retry(lambda: self.client.request(method, key, content=BytesIO(data), **options))
        self._count(len(data))
        _pause(len(data))
        return digest.hexdigest()

    def _unfinished_uploads(self) -> dict[str, list[str]]:
        """Returns {name: ids of unfinished multipart uploads}."""
        found: dict[str, list[str]] = {}
        prefix = self._key("")
        request = self.client.sdk.ListMultipartUploadsRequest(prefix=prefix)
        for entry in self.client.call("listMultipartUploads", multipart=request).body.upload:
            found.setdefault(entry.key.removeprefix(prefix), []).append(entry.uploadId)
        return found

    def _parts(self, key: str, upload: str) -> dict[int, str]:
        """Returns {number: MD5} of the parts of a multipart upload."""
        found: dict[int, str] = {}
        more = True
        while more:
            page = self.client.call("listParts", key, upload, partNumberMarker=max(found, default=None)).body
            found |= {part.partNumber: part.etag.strip('"') for part in page.parts}
            more = page.isTruncated
        return found

    def _abort(self, name: str, upload: str) -> None:
        with suppress(RequestRefused):  # completed or aborted already
            self.client.call("abortMultipartUpload", self._key(name), upload)


def _moxing() -> Any:
    """Returns ModelArts' file module, which has the job's credentials, or None. PyPI's moxing is another package."""
    try:
        import moxing
    except ImportError:
        return None
    return getattr(moxing, "file", None)


def _parallel_map(function: Callable[[Any], T], items: Iterable) -> dict[Any, T]:
    """Returns {item: function(item)}, computed in parallel. The first error cancels the rest."""
    with ThreadPoolExecutor(_workers) as pool:
        futures = {pool.submit(function, item): item for item in items}
        try:
            return {futures[future]: future.result() for future in as_completed(futures)}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _file_md5(file: BinaryIO, size: int) -> str:
    """Returns the MD5 of the first `size` bytes."""
    digest = hashlib.md5()
    for start in range(0, size, 1 << 20):
        digest.update(os.pread(file.fileno(), min(1 << 20, size - start), start))
        _pause(min(1 << 20, size - start))
    return digest.hexdigest()


def _pause(size: int) -> None:
    if _rate:
        time.sleep(size / _rate)


def _move(scratch: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(scratch, target)
