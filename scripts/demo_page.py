"""Open a page on this computer that segments images: drop one, see its classes, download masks and polygons.

    python scripts/demo_page.py --model ocrnet_hrnet_w18_small_cityscapes_mmseg_40k
    python scripts/demo_page.py --config FILE.yml --ckpt_path FILE.ckpt --port 0 --open True

Needs the extra `demo`: pip install '.[demo]'. Only this computer can open the page, and no image is stored. Ctrl-C ends
it.
"""

import argparse
import signal
import sys
import webbrowser
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet.runtime.signals import StopRequest

StopRequest().watch()  # Ctrl-C ends the program at once, also while an image is segmented; before MindSpore is imported

import numpy as np

from ocrnet.config import Config, command_line
from ocrnet.formats import cityscapes
from ocrnet.inference.engines import add_flags
from ocrnet.inference.model import Model
from ocrnet.inference.sources import find_source
from ocrnet.runtime import device, program


def example(config: Config) -> np.ndarray | None:
    """Returns a drawn street (512, 1024, 3) uint8 RGB for a network of Cityscapes' classes, None for another one."""
    if tuple(config.data.classes) != cityscapes.CLASS_NAMES:
        return None
    from make_demo_data import draw_scene

    return draw_scene(seed=0, split="val", index=1, width=1024, height=512)[0]


def open_browser(address: str) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a browser inherits the mask of this thread
    webbrowser.open(address)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = command_line.config_parser("Open a page on this computer that segments images.")
    command_line.add_checkpoint_flag(parser)
    parser.add_argument("--port", type=int, default=7860, help="0: a free one (default 7860)")
    parser.add_argument("--open", type=command_line.parse_bool, default=False, help="True: open the browser")
    add_flags(parser)
    return parser


def main() -> None:
    args, config = command_line.parse(make_parser(), find_source=find_source)
    from ocrnet.demo import server  # here, so that a missing library is an error message

    listener = server.listen(args.port)
    device.init(config.device_target, config.ms_mode, config.seed, config.device.options)
    model = Model(config, args.ckpt_path, args.engine, args.precision)
    page = server.DemoServer(model, args.model or config.model.backbone, example(config))
    address = f"http://{server.ADDRESS}:{listener.getsockname()[1]}"
    print(f"{address} shows the page; Ctrl-C ends it", flush=True)
    if args.open:
        Thread(target=open_browser, args=(address,), daemon=True).start()
    page.run(listener)


if __name__ == "__main__":
    sys.exit(program.run(main))
