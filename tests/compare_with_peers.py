# ruff: noqa: E402
"""Compares the networks with the publishers' code, with the same weights, at image sizes that are no multiple of 32.

    python tests/compare_with_peers.py --peer peer/bin/python               # see requirements-peer.txt
    python tests/compare_with_peers.py --peer peer/bin/python --write       # also tests/data/odd_sizes.npz
    python tests/compare_with_peers.py --peer paddle/bin/python --models paddleseg_w18 paddleseg_w48

Prints for each model and size the largest difference of the main and auxiliary logits, their largest value, and the
share of pixels with the same class in percent: for MindSpore, for the ONNX Runtime and OpenVINO engines and, with
mmsegmentation, for multi-scale and flip and for a sliding window. Exit status 1 if a difference exceeds 2e-4 of the
largest logit, which is float32 rounding, or fewer than 99.9 % of the classes are equal.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import numpy as np
from mindspore import Tensor

from known_weights import odd_image, odd_input
from ocrnet.config import Config
from ocrnet.inference.engines import Engine
from ocrnet.inference.network import MainLogits
from ocrnet.inference.predictor import Predictor
from ocrnet.models.ocrnet import OCRNet
from ocrnet.runtime import device
from peers import DATA, converted, model_config, odd_figures, tensors_of

MODELS = (
    "mmseg_hr18s",
    "mmseg_hr18",
    "mmseg_hr48",
    "mmseg_r50-d8",
    "ssseg_w18s",
    "ssseg_w18",
    "ssseg_r50",
    "hrnetocr_w48",
)
SIZES = ("125x251", "97x64", "33x33", "20x9", "512x683")
WRITTEN = ("125x251", "97x64", "33x33", "20x9")


def compare(model: str, peer: dict[str, np.ndarray], engines: bool) -> bool:
    """Print a line per size. Returns whether all are equal."""
    source, config = model_config(model)
    network = OCRNet(config, 19)
    converted(network, source, tensors_of(peer))
    network.set_train(False)
    sizes = [tuple(map(int, key.split("/")[0].split("x"))) for key in peer if key.endswith("/main")]
    lines, good = {}, True
    for size in sizes:
        key = "{}x{}".format(*size)
        main, auxiliary = (part.asnumpy() for part in network(Tensor(odd_input(size))))
        logits = MainLogits(network, config.align_corners)(Tensor(odd_input(size)), size).asnumpy()
        largest = np.abs(peer[f"{key}/main"]).max()
        errors = [np.abs(main - peer[f"{key}/main"]).max(), np.abs(auxiliary - peer[f"{key}/auxiliary"]).max()]
        same = {"classes": (logits.argmax(1) == peer[f"{key}/classes"]).mean()}
        for mode in ("slide", "tta"):
            if f"{key}/{mode}" in peer:
                same[mode] = (predict(network, config, size, mode) == peer[f"{key}/{mode}"]).mean()
        good &= max(errors) <= 2e-4 * largest
        lines[size] = ([key, *(f"{error:.1e}" for error in errors), f"{largest:.1f}"], same)
    for name in ("onnxruntime", "openvino") if engines else ():
        engine = Engine(network, name)
        for size in sizes:
            lines[size][1][name] = (engine.classes(odd_input(size), size) == peer["{}x{}/classes".format(*size)]).mean()
    for columns, same in lines.values():
        good &= min(same.values()) >= 0.999
        shares = [f"{name} {100 * share:.3f}" for name, share in same.items()]
        print(f"{model:14}", *(f"{column:>8}" for column in columns), *shares, flush=True)
    return bool(good)


def predict(network: OCRNet, model, size: tuple[int, int], mode: str) -> np.ndarray:
    """Returns (1, H, W) classes that eval.py's Predictor predicts for the input of `peer_logits.py` in `mode`."""
    evaluation = {"multi_scale": True} if mode == "tta" else {"window": (64, 96), "stride": (42, 63)}
    classes = [f"class {number}" for number in range(19)]
    config = Config(data={"format": "list", "classes": classes}, model=model, eval=evaluation)
    predictor = Predictor(network, config)
    return predictor([odd_image(size)]) if mode == "tta" else predictor._sliding_window(odd_input(size), size).argmax(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="Python of the peers' environment")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HxW")
    parser.add_argument("--engines", action="store_true", help="also compare ONNX Runtime and OpenVINO")
    parser.add_argument("--write", action="store_true", help="write the expected values of the tests")
    args = parser.parse_args()
    device.init("CPU", mode=1, seed=0)
    good, written = True, {}
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            golden, output = DATA / f"golden_{model.replace('ssseg16', 'ssseg')}.npz", Path(folder) / f"{model}.npz"
            scales = ["--golden", golden] if golden.exists() else []
            script = "paddle_logits.py" if model.startswith("paddleseg") else "peer_logits.py"
            subprocess.run([args.peer, ROOT / "tests" / script, model, output, *args.sizes, *scales], check=True)
            peer = dict(np.load(output))
            good &= compare(model, peer, args.engines)
            if scales:
                written |= {f"{model}/{key}": value for key, value in odd_figures(peer, WRITTEN).items()}
    if args.write:
        known = dict(np.load(DATA / "odd_sizes.npz"))  # keeps those of models that were not compared
        np.savez_compressed(DATA / "odd_sizes.npz", **{**known, **written})
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
