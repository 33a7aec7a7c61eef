"""Segment images and videos.

    python scripts/predict.py street.jpg --model ocrnet_hrnet_w18_small_cityscapes_mmseg_40k
    python scripts/predict.py --config FILE.yml --ckpt_path FILE.ckpt --input FOLDER --output DIR

Writes class indices (grey PNG) to DIR/raw, class colours (PNG) to DIR/mask and the images blended with the colours
(JPEG) to DIR/overlay, all at the size of the images. For a video, writes DIR/mask/NAME.mp4, DIR/overlay/NAME.mp4 and
the numbered frames in DIR/raw/NAME.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet import errors  # before OpenCV, whose environment it sets

# isort: split
import cv2
import numpy as np

from ocrnet.config import command_line
from ocrnet.distributed import collectives, launcher
from ocrnet.inference import media
from ocrnet.inference.engines import add_flags
from ocrnet.inference.model import Model
from ocrnet.inference.sources import find_source
from ocrnet.runtime import device, program, progress
from ocrnet.visualization import write_image


class VideoWriter:
    """Writes an MP4 file of (H, W, 3) RGB frames of one size."""

    def __init__(self, path: Path, frames_per_second: float, size: tuple[int, int]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            str(path).encode()  # OpenCV needs UTF-8
        except (OSError, UnicodeEncodeError) as error:
            raise errors.UserError(f"{path}: cannot write this video: {error}") from None
        self.writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, size)
        if not self.writer.isOpened():
            raise errors.UserError(f"{path}: cannot write this video")

    def add(self, frame: np.ndarray) -> None:
        self.writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


def write_video(model: Model, video: media.Video, folder: Path, name: Path, strength: float) -> None:
    """Segments a video and writes its files to a folder."""
    writers: dict[str, VideoWriter] = {}
    try:
        frames = progress.bar(iterable=model.predict(video), total=video.length, desc=str(name))
        for number, result in enumerate(frames):
            images = {"mask": result.mask().convert("RGB"), "overlay": result.overlay(strength)}
            for kind, image in images.items():
                if kind not in writers:
                    writers[kind] = VideoWriter(folder / kind / f"{name}.mp4", video.frames_per_second, image.size)
                writers[kind].add(np.asarray(image))
            write_image(folder / "raw" / name / f"{number:06}.png", result.classes)
    finally:
        for writer in writers.values():
            writer.writer.release()


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Segment images and videos.")
    command_line.add_checkpoint_flag(parser)
    parser.add_argument("files", nargs="*", metavar="FILE", help="the same as --input")
    parser.add_argument("--input", nargs="+", default=[], metavar="FILE|FOLDER|GLOB|VIDEO")
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("predictions"), help="default: predictions")
    parser.add_argument(
        "--strength", type=float, default=0.5, help="opacity of the colours on overlays, 0 to 1 (default 0.5)"
    )
    add_flags(parser)
    return parser


def main() -> None:
    args, config = command_line.parse(make_parser(), find_source=find_source)
    names = media.find_inputs([*args.files, *args.input])

    device.init(config.device_target, config.ms_mode, config.seed, config.device.options)
    model = Model(config, args.ckpt_path, args.engine, args.precision)

    failed: list[str] = []
    ranks = launcher.ranks()
    mine = list(names.items())[ranks.rank :: ranks.size]
    for path, name in progress.bar(iterable=mine, desc="predict", unit="file"):
        try:
            if video := media.open_video(path):
                write_video(model, video, args.output, name, args.strength)
            else:
                model.predict(path).save(args.output, name, args.strength)
        except errors.UserError as error:
            failed.append(str(error))
        except (MemoryError, RuntimeError) as error:
            if not (reason := program.out_of_memory(error)):
                raise
            failed.append(f"{path}: out of memory ({reason}): set eval.window=[512,1024], or split it into tiles")
    failed = [problem for part in collectives.all_gather_object(failed) for problem in part]
    print(f"{len(names) - len(failed)} of {len(names)} files segmented: {args.output}")
    if failed:
        raise errors.UserError(f"{len(failed)} of {len(names)} files could not be segmented", failed)


if __name__ == "__main__":
    sys.exit(program.run(main))
