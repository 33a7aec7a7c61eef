"""Finds and reads input images and videos: files, folders and glob patterns."""

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

from ocrnet.data.images import FORMATS, MAX_PIXELS, SUFFIXES, BadFile, flatten, open_image, read_file
from ocrnet.data.output_names import unique_names
from ocrnet.errors import UserError

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: `open_video` reports unreadable videos

VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
_ANIMATED = {".gif", ".webp", ".png"}  # formats that may hold several images
_CONTAINERS = re.compile(
    rb"....(ftyp|moov|mdat|free|skip|wide|pnot)"  # MP4 and QuickTime
    rb"|RIFF....AVI |\x1aE\xdf\xa3|0&\xb2\x75\x8e\x66\xcf\x11|FLV\x01|OggS"  # AVI, Matroska and WebM, ASF
    rb"|\x00\x00\x01[\xb3\xba]|G.{187}G.{187}G|....G.{191}G.{191}G",  # MPEG: elementary, program, transport
    re.DOTALL,
)
"""First bytes of containers that hold their own frames. FFmpeg would also open a playlist named video.mp4 and follow it
to other files; OpenCV 4.11 cannot restrict FFmpeg's formats."""
_INDEXED_CONTAINERS = {".mp4", ".m4v", ".mov", ".avi"}  # have a frame index; other containers estimate the frame count


def find_inputs(inputs: list[str]) -> dict[Path, Path]:
    """Returns {file: output name without suffix} for files, folders (recursive) and glob patterns.

    Output names keep the path inside an input folder. If two files would get the same name, both keep their suffix, or
    their folders if the suffix is the same, too.

    Raises:
        UserError: there is no input, or one does not exist or has neither images nor videos.
    """
    if not inputs:
        raise UserError("no input: name images, videos, folders or patterns")
    names: dict[Path, Path] = {}
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in {*SUFFIXES, *VIDEOS})
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
    candidates = [(name.with_suffix(""), name) for name in names.values()]
    return dict(zip(names, unique_names(list(names), candidates, _has_frames), strict=True))


def _has_frames(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS or open_video(path) is not None


@dataclass
class Video:
    """Frames of a video or an animated image."""

    path: Path
    frames_per_second: float
    length: int
    """Number of frames according to the file; the actual number may differ slightly."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields (H, W, 3) uint8 RGB frames.

        Raises:
            BadFile: the file is truncated; raised after its readable frames.
        """
        if self.path.suffix.lower() in _ANIMATED:
            yield from self._animation_frames()
            return
        number = 0
        for frame in self._video_frames():
            yield frame
            number += 1
        if self.path.suffix.lower() in _INDEXED_CONTAINERS and number < 0.9 * self.length - 1:
            raise BadFile("truncated", f"{self.path}: damaged: truncated after {number} of {self.length} frames")

    def _animation_frames(self) -> Iterator[np.ndarray]:
        image, _ = open_image(self.path, read_file(self.path, "image"))
        for number in range(self.length):
            try:
                image.seek(number)
                frame = flatten(self.path, image)
            except Exception:  # decoders raise many types
                raise BadFile("truncated", f"{self.path}: damaged: truncated after {number} frames") from None
            yield frame

    def _video_frames(self) -> Iterator[np.ndarray]:
        capture = _capture(self.path)
        try:
            while (read := capture.read())[0]:
                yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        finally:
            capture.release()


def open_video(path: Path) -> Video | None:
    """Open the video or animation in a file. Returns None if the file has a single image or none.

    Raises:
        UserError: the file has a video suffix but is not a readable video.
    """
    suffix = path.suffix.lower()
    if suffix in _ANIMATED:
        if not path.is_file():
            return None
        try:
            with Image.open(path, formats=FORMATS) as image:
                length, milliseconds = _count_frames(image), float(image.info.get("duration") or 100)
        except Exception:  # Pillow raises many types; `read_image` reports what is wrong with the file
            return None
        return Video(path, _clamp_frame_rate(1000 / milliseconds), length) if length > 1 else None
    if suffix not in VIDEOS:
        return None
    if not path.is_file():  # reading a pipe would block
        raise UserError(f"{path}: not a readable video: not a file")
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise UserError(f"{path}: not a readable video: {error.strerror}") from None
    if not _CONTAINERS.match(start):
        raise UserError(f"{path}: not a readable video: not one of MP4, AVI, Matroska, WebM, ASF, MPEG")
    capture = _capture(path)
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    video = Video(
        path, _clamp_frame_rate(capture.get(cv2.CAP_PROP_FPS)), max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    )
    readable = 0 < width * height <= MAX_PIXELS and capture.read()[0]
    capture.release()
    if not readable:
        raise UserError(f"{path}: not a readable video")
    return video


def _count_frames(image: Image.Image) -> int:
    """Returns the number of frames. For a truncated animation one more than readable: reading it raises the error."""
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # decoders raise many types
        image.seek(0)
        for number in count(1):
            try:
                image.seek(number)
            except Exception:  # the same error: the file is truncated here
                return number + 1
        return 1


def _capture(path: Path) -> cv2.VideoCapture:
    """Open with FFmpeg only: OpenCV's other backends treat a name with digits as a pattern of names."""
    name = os.path.abspath(path)  # "http:x.mp4" would be a URL
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: OpenCV cannot read a video whose name is not UTF-8: rename it") from None
    return cv2.VideoCapture(name, cv2.CAP_FFMPEG)


def _clamp_frame_rate(frames_per_second: float) -> float:
    """Clamp to the range of a video writer; 25 if unknown."""
    return min(max(frames_per_second, 0.1), 1000.0) if frames_per_second > 0 else 25.0
