"""Images and videos as people have them: any format, depth, orientation; files, folders, patterns."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ocrnet.data.images import FORMATS, MAX_PIXELS, BadFile, flatten, open_image, read_file
from ocrnet.data.output_names import unique_names
from ocrnet.errors import UserError

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: we say ourselves which video is unreadable

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
_ANIMATED = {".gif", ".webp", ".png"}  # formats that may hold several images
_CONTAINERS = re.compile(
    rb"....(ftyp|moov|mdat|free|skip|wide|pnot)"  # MP4 and QuickTime
    rb"|RIFF....AVI |\x1aE\xdf\xa3|0&\xb2\x75\x8e\x66\xcf\x11|FLV\x01|OggS"  # AVI, Matroska and WebM, ASF
    rb"|\x00\x00\x01[\xb3\xba]|G.{187}G.{187}G|....G.{191}G.{191}G",  # MPEG: elementary, program, transport
    re.DOTALL,
)
"""How files begin that hold their frames themselves. FFmpeg would also follow a playlist that is called film.mp4, to
other files; OpenCV 4.11 does not hand it a list of formats."""
_COUNTED = {".mp4", ".m4v", ".mov", ".avi"}  # containers that list their frames; others estimate how many there are


def find(inputs: list[str]) -> dict[Path, Path]:
    """{file: name for what is made of it, without ending} for files, folders (with all inside) and glob patterns.

    A folder's files keep their place in it. Where two files would get one name, both keep their endings, or their
    folders where the endings are the same.

    Raises:
        UserError: an input is not there, or holds neither images nor videos.
    """
    names: dict[Path, Path] = {}
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES | VIDEOS)
            found = {file: file.relative_to(path) for file in files if not file.is_dir()}
        elif path.exists():
            found = {path: Path(path.name)}
        else:
            files = sorted(Path(file) for file in glob(given, recursive=True) if not Path(file).is_dir())
            found = {file: Path(file.name) for file in files}
        if not found:
            reason = "no images or videos in this folder" if path.is_dir() else "no such file, folder or pattern"
            raise UserError(f"--input {given}: {reason}")
        names.update(found)
    wishes = [(name.with_suffix(""), name) for name in names.values()]
    return dict(zip(names, unique_names(list(names), wishes, _has_frames), strict=True))


def _has_frames(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS or open_video(path) is not None


@dataclass
class Video:
    """Frames of a film or an animated image."""

    path: Path
    frames_per_second: float
    length: int
    """Frames that the file says it has; the truth may differ by a few."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, one at a time.

        Raises:
            BadFile: the file breaks off, after the frames before that place.
        """
        if self.path.suffix.lower() in _ANIMATED:
            yield from self._images()
            return
        number = 0
        for frame in self._film():
            yield frame
            number += 1
        if self.path.suffix.lower() in _COUNTED and number < 0.9 * self.length - 1:
            raise BadFile("truncated", f"{self.path}: damaged: it breaks off after {number} of {self.length} frames")

    def _images(self) -> Iterator[np.ndarray]:
        image, _ = open_image(self.path, read_file(self.path, "image"))
        for number in range(self.length):
            try:
                image.seek(number)
                frame = flatten(self.path, image)
            except Exception:  # a decoder raises whatever it met
                raise BadFile("truncated", f"{self.path}: damaged: it breaks off after {number} frames") from None
            yield frame

    def _film(self) -> Iterator[np.ndarray]:
        capture = _capture(self.path)
        try:
            while (read := capture.read())[0]:
                yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        finally:
            capture.release()


def open_video(path: Path) -> Video | None:
    """The video or animation in a file; None when it holds a single image or none.

    Raises:
        UserError: named as a video, but not a readable one.
    """
    ending = path.suffix.lower()
    if ending in _ANIMATED:
        if not path.is_file():
            return None
        try:
            with Image.open(path, formats=FORMATS) as image:
                length, milliseconds = _count_frames(image), float(image.info.get("duration") or 100)
        except Exception:  # Pillow raises whatever it met; `read_image` says what is wrong with the file
            return None
        return Video(path, _sane(1000 / milliseconds), length) if length > 1 else None
    if ending not in VIDEOS:
        return None
    if not path.is_file():  # a pipe would never end
        raise UserError(f"{path}: not a readable video: not a file")
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise UserError(f"{path}: not a readable video: {error.strerror}") from None
    if not _CONTAINERS.match(start):
        raise UserError(f"{path}: not a readable video: it begins like none of MP4, AVI, Matroska, WebM, ASF, MPEG")
    capture = _capture(path)
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    video = Video(path, _sane(capture.get(cv2.CAP_PROP_FPS)), max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))))
    readable = 0 < width * height <= MAX_PIXELS and capture.read()[0]
    capture.release()
    if not readable:
        raise UserError(f"{path}: not a readable video")
    return video


def _count_frames(image: Image.Image) -> int:
    """Of an animation that breaks off one more than can be reached: reading that one says what is wrong."""
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # a decoder raises whatever it met
        image.seek(0)
        for number in count(1):
            try:
                image.seek(number)
            except Exception:  # the same again: here is the place where the file breaks off
                return number + 1
        return 1


def _capture(path: Path) -> cv2.VideoCapture:
    """FFmpeg alone: OpenCV's other readers take a name with digits in it for a pattern of names."""
    name = os.path.abspath(path)  # "http:x.mp4" would be an address
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: OpenCV reads no video whose name is not UTF-8: rename it") from None
    return cv2.VideoCapture(name, cv2.CAP_FFMPEG)


def _sane(frames_per_second: float) -> float:
    """What a video writer takes; 25 where nothing is said."""
    return min(max(frames_per_second, 0.1), 1000.0) if frames_per_second > 0 else 25.0
