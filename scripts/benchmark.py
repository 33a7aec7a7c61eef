"""Time OCRNet beside a 2048 x 2048 x 2048 matrix product on the same machine, in turn, in one run.

    python scripts/benchmark.py                      # forward of W18-small on 1x3x512x1024
    python scripts/benchmark.py --work training      # training step, batch 2 of 256x512

Prints medians and the peak memory of this process, and writes JSON with --output.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from ocrnet import device, errors
from ocrnet.config import Config


def forward(config: Config) -> Callable[[], object]:
    """One 1x3x512x1024 picture through the network, in evaluation mode."""
    from mindspore import Tensor

    from ocrnet.models.ocrnet import OCRNet

    network = OCRNet(config.model, len(config.data.classes)).set_train(False)
    images = Tensor(np.random.default_rng(0).normal(size=(1, 3, 512, 1024)).astype(np.float32))
    return lambda: network(images)[0].asnumpy()


def training(config: Config) -> Callable[[], object]:
    """One training step on 2 crops of 256x512."""
    from mindspore import Tensor

    from ocrnet.losses import OCRLoss
    from ocrnet.models.ocrnet import OCRNet
    from ocrnet.optim import make_optimizer
    from ocrnet.train_cell import TrainOneStep

    classes = len(config.data.classes)
    rng = np.random.default_rng(0)
    loss_network = OCRLoss(OCRNet(config.model, classes), config.loss, classes, config.model.align_corners)
    step = TrainOneStep(loss_network, make_optimizer(config.optimizer, loss_network), None).set_train(True)
    images = Tensor(rng.normal(size=(2, 3, 256, 512)).astype(np.float32))
    labels = Tensor(rng.integers(0, classes, (2, 256, 512)).astype(np.int32))
    return lambda: step(images, labels)[0].asnumpy()


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", choices=["forward", "training"], default="forward")
    parser.add_argument("--backbone", default="hrnet_w18_small")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device_target", choices=device.TARGETS)
    parser.add_argument("--ms_mode", type=int, choices=[0, 1], default=0)
    parser.add_argument("--output", metavar="FILE.json")
    args = parser.parse_args()

    target = device.init(args.device_target, args.ms_mode, seed=0)
    config = Config(model={"backbone": args.backbone})
    work = {"forward": forward, "training": training}[args.work](config)
    matrix = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)

    compile_seconds = seconds(work)
    pairs = [(seconds(work), seconds(lambda: matrix @ matrix)) for _ in range(args.repeats)]
    ours, product = zip(*pairs, strict=True)
    result = {
        "work": args.work,
        "backbone": args.backbone,
        "device": target,
        "median_s": statistics.median(ours),
        "min_s": min(ours),
        "max_s": max(ours),
        "matrix_product_median_s": statistics.median(product),
        "first_call_s": compile_seconds,
        "peak_memory_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    for key, value in result.items():
        print(f"{key:<24} {value:.3f}" if isinstance(value, float) else f"{key:<24} {value}")
    if args.output:
        errors.write_text(Path(args.output), json.dumps(result, indent=1))


if __name__ == "__main__":
    sys.exit(errors.run(main))
