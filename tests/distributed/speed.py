"""Benchmarks distributed training on a CPU: python tests/distributed/speed.py [ROUNDS]

Measures the demo's training step (192 x 384, batch 4) in one process with all cores and in two ranks of batch 2, with
and without synchronised BatchNorm, alternating in three rounds (ROUNDS), and an all-reduce of 25 MB over two ranks.
Prints medians.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

STEPS = 15


def measure(batch: int, synchronised: bool) -> None:
    """One measurement in a rank; prints seconds: first step, median step, all-reduce of 25 MB."""
    from ocrnet.distributed import launcher
    from ocrnet.runtime import device

    device.init("CPU", seed=0)
    import numpy as np
    from mindspore import Tensor, float32, int32, ops

    from ocrnet.config.loading import load_config
    from ocrnet.distributed.collectives import barrier
    from ocrnet.models.ocrnet import OCRNet
    from ocrnet.models.sync_batch_norm import convert_sync_batch_norm
    from ocrnet.training.losses import OCRLoss
    from ocrnet.training.optimizer import make_optimizer
    from ocrnet.training.step import TrainOneStep

    config = load_config(ROOT / "config" / "ocrnet" / "ocrnet_demo.yml", {})
    classes = len(config.data.classes)
    network = OCRNet(config.model, classes)
    if synchronised:
        convert_sync_batch_norm(network)
    loss_network = OCRLoss(network, config.loss, classes, config.model.align_corners)
    step = TrainOneStep(loss_network, make_optimizer(config.optimizer, loss_network), None).set_train()
    size = config.data.crop_size
    lr = Tensor(0.01, float32)
    rng = np.random.default_rng(0)
    images = Tensor(rng.normal(size=(batch, 3, *size)), float32)
    labels = Tensor(rng.integers(0, classes, (batch, *size)), int32)

    def seconds(work: object) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    first = seconds(lambda: step(images, labels, lr)[0].asnumpy())
    every = statistics.median(seconds(lambda: step(images, labels, lr)[0].asnumpy()) for _ in range(STEPS))
    many = 0.0
    if launcher.ranks().size > 1:
        gradients = Tensor(np.ones(25_000_000 // 4), float32)
        all_reduce = ops.AllReduce()
        many = statistics.median(seconds(lambda: all_reduce(gradients).asnumpy()) for _ in range(9))
    print(first, every, many)
    barrier()
    launcher.exit_process(0)


def main(rounds: int) -> None:
    from test_several_ranks import MPIRUN, loopback_only

    two = [*loopback_only(), *MPIRUN, "--allow-run-as-root", "-n", "2"]
    runs = {
        "one process, batch 4": ([], "4", "False"),
        "two ranks, batch 2 each": (two, "2", "False"),
        "two ranks, synchronised BatchNorm": (two, "2", "True"),
    }
    figures = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (prefix, *arguments) in runs.items():
            command = [*prefix, sys.executable, __file__, *arguments]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            figures[name].append([float(word) for word in printed.split()[-3:]])
    for name, rows in figures.items():
        first, step, many = (statistics.median(column) for column in zip(*rows, strict=True))
        text = f"{name}: first step {first:.1f} s, then {1000 * step:.0f} ms a step ({4 / step:.1f} images/s)"
        print(text + (f"; sum of 25 MB: {1000 * many:.0f} ms" if many else ""))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), sys.argv[2] == "True")
    else:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else 3)
