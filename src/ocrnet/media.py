"""Pictures and videos as people have them: any format, depth, orientation; files, folders, patterns."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageSequence

from ocrnet.data.pictures import read_picture
from ocrnet.errors import UserError

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: we say ourselves which video is unreadable

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
_ANIMATED = {".gif", ".webp", ".png"}  # formats that may hold several pictures


def find(inputs: list[str]) -> dict[Path, Path]:
    """{file: name for what is made of it, without ending} for files, folders (with all inside) and glob patterns.

    A folder's files keep their place in it. Where two files would get one name, both keep their endings.

    Raises:
        UserError: an input is not there, or holds neither pictures nor videos.
    """
    names: dict[Path, Path] = {}
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES | VIDEOS)
            found = {file: file.relative_to(path) for file in files}
        elif path.is_file():
            found = {path: Path(path.name)}
        else:
            files = sorted(Path(file) for file in glob(given, recursive=True) if Path(file).is_file())
            found = {file: Path(file.name) for file in files}
        if not found:
            reason = "no pictures or videos in this folder" if path.is_dir() else "no such file, folder or pattern"
            raise UserError(f"--input {given}: {reason}")
        names.update(found)
    count = Counter(name.with_suffix("") for name in names.values())
    plain = {file: name.with_suffix("") for file, name in names.items()}
    return {file: plain[file] if count[plain[file]] == 1 else name for file, name in names.items()}


def read(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of any picture, turned as its EXIF says, 16 bits brought to 8, alpha laid on white.

    Raises:
        UserError: the file is missing or no readable picture.
    """
    picture = read_picture(path)
    if _has_alpha(path):
        stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if stored is not None and stored.ndim == 3 and stored.shape[2] == 4 and stored.shape[:2] == picture.shape[:2]:
            alpha = stored[..., 3:].astype(np.float32) / np.iinfo(stored.dtype).max
            picture = (picture * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    return picture


def _has_alpha(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


@dataclass
class Video:
    """Frames of a film or an animated picture."""

    path: Path
    frames_per_second: float
    length: int
    """Frames that the file says it has; the truth may differ by a few."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, one at a time."""
        if self.path.suffix.lower() in _ANIMATED:
            with Image.open(self.path) as image:
                for frame in ImageSequence.Iterator(image):
                    yield np.asarray(frame.convert("RGB"))
            return
        capture = cv2.VideoCapture(str(self.path))
        while (read := capture.read())[0]:
            yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        capture.release()


def open_video(path: Path) -> Video | None:
    """The video or animation in a file; None when it holds a single picture or none.

    Raises:
        UserError: named as a video, but not a readable one.
    """
    ending = path.suffix.lower()
    if ending in _ANIMATED:
        try:
            with Image.open(path) as image:
                length, milliseconds = getattr(image, "n_frames", 1), image.info.get("duration") or 100
        except OSError:
            return None  # `read` says what is wrong with it
        return Video(path, 1000 / milliseconds, length) if length > 1 else None
    if ending not in VIDEOS:
        return None
    capture = cv2.VideoCapture(str(path))
    video = Video(path, capture.get(cv2.CAP_PROP_FPS) or 25.0, max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))))
    readable = capture.read()[0]
    capture.release()
    if not readable:
        raise UserError(f"{path}: not a readable video")
    return video
