"""Segment images and videos.

    python scripts/predict.py --config FILE.yml --ckpt_path FILE.ckpt --input FOLDER --output DIR

Writes class indices (grey PNG) to DIR/raw, class colours (PNG) to DIR/mask and the images blended with the colours
(JPEG) to DIR/overlay, all at the size of the images. For a video, writes DIR/mask/NAME.mp4, DIR/overlay/NAME.mp4 and
the numbered frames in DIR/raw/NAME.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import cv2
import numpy as np

from ocrnet import errors
from ocrnet.config import command_line
from ocrnet.data.datasets import palette
from ocrnet.data.images import ImageFile
from ocrnet.distributed import collectives, launcher
from ocrnet.inference import media
from ocrnet.inference.engines import add_flags, make_engine
from ocrnet.inference.network import load_network
from ocrnet.inference.predictor import Predictor
from ocrnet.runtime import device, program, progress
from ocrnet.visualization import colour, overlay, write_image


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


class Output:
    """Writes the results to a folder."""

    def __init__(self, folder: Path, colours: np.ndarray, strength: float) -> None:
        self.folder, self.colours, self.strength = folder, colours, strength

    def image(self, name: Path, image: np.ndarray, classes: np.ndarray) -> None:
        write_image(self.folder / "raw" / f"{name}.png", classes)
        write_image(self.folder / "mask" / f"{name}.png", colour(classes, self.colours))
        write_image(self.folder / "overlay" / f"{name}.jpg", overlay(image, classes, self.colours, self.strength))

    def video(self, name: Path, video: media.Video, predictor: Predictor) -> None:
        writers: list[VideoWriter] = []
        try:
            for number, frame in enumerate(progress.bar(iterable=video, total=video.length, desc=str(name))):
                if not writers:
                    predictor.check_memory(video.path, frame.shape[:2])
                classes = predictor([frame])[0]
                if not writers:
                    paths = [self.folder / kind / f"{name}.mp4" for kind in ("mask", "overlay")]
                    writers = [VideoWriter(path, video.frames_per_second, frame.shape[1::-1]) for path in paths]
                writers[0].add(colour(classes, self.colours))
                writers[1].add(overlay(frame, classes, self.colours, self.strength))
                write_image(self.folder / "raw" / name / f"{number:06}.png", classes)
        finally:
            for writer in writers:
                writer.writer.release()


def main() -> None:
    parser = command_line.config_parser("Segment images and videos.")
    command_line.add_checkpoint_flag(parser)
    parser.add_argument("--input", nargs="+", required=True, metavar="FILE|FOLDER|GLOB|VIDEO")
    parser.add_argument("--output", required=True, metavar="DIR", type=Path)
    parser.add_argument(
        "--strength", type=float, default=0.5, help="opacity of the colours on overlays, 0 to 1 (default 0.5)"
    )
    add_flags(parser)
    args, config = command_line.parse(parser)
    names = media.find_inputs(args.input)

    device.init(config.device_target, config.ms_mode, config.seed, config.device.options)
    network = load_network(config, args.ckpt_path)
    predictor = Predictor(network, config, compile_first=False, engine=make_engine(args, network, config))
    output = Output(args.output, palette(config.data), args.strength)

    failed: list[str] = []
    ranks = launcher.ranks()
    mine = list(names.items())[ranks.rank :: ranks.size]
    for path, name in progress.bar(iterable=mine, desc="predict", unit="file"):
        try:
            if video := media.open_video(path):
                output.video(name, video, predictor)
            else:
                file = ImageFile(path)
                predictor.check_memory(path, file.shape[:2])
                image = file[:, :]
                output.image(name, image, predictor([image])[0])
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
