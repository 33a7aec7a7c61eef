"""Measures the overhead of a checkpoint upload on the training steps.

    nice -n 10 python tests/faults/push_overhead.py --pairs 150

The demo's network trains while a file of 300 MB is uploaded, as after a checkpoint. Every few steps the uploader and
the server are stopped or continued. Adjacent blocks of steps are compared, so that other load on the machine cancels
out. The server runs on this machine, also with idle priority; in practice it is another machine.
"""

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from ocrnet.cloud import modelarts
from ocrnet.runtime import device
from s3_server import ENVIRONMENT, s3_server


def training_step(size: int):
    """Returns a function that runs a step of the demo's network with batch size 4 and waits for it."""
    import numpy as np
    from mindspore import Tensor, float32

    from ocrnet.config.loading import load_config
    from ocrnet.models.ocrnet import OCRNet
    from ocrnet.training.losses import OCRLoss
    from ocrnet.training.optimizer import make_optimizer
    from ocrnet.training.step import TrainOneStep, make_loss_scaler

    config = load_config(ROOT / "config/ocrnet/ocrnet_demo.yml", {"train.total_step": (1, "")})
    classes = len(config.data.classes)
    network = OCRNet(config.model, classes)
    loss = OCRLoss(network, config.loss, classes, config.model.align_corners)
    step = TrainOneStep(loss, make_optimizer(config.optimizer, loss), make_loss_scaler(config.train.loss_scale), 0.0)
    step.set_train(True)
    images = Tensor(np.random.default_rng(0).standard_normal((4, 3, size, 2 * size), np.float32))
    labels = Tensor(np.zeros((4, size, 2 * size), np.int32))
    lr = Tensor(0.01, float32)
    return lambda: step(images, labels, lr)[0].asnumpy()


def children(thread: int | str) -> list[int]:
    """Returns the child processes of a thread of this process."""
    return [int(word) for word in Path(f"/proc/self/task/{thread}/children").read_text().split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--steps", type=int, default=3, help="steps per block")
    parser.add_argument("--size", type=int, default=64, help="height of the images")
    args = parser.parse_args()
    device.init("CPU", mode=0, seed=0)
    step = training_step(args.size)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # in practice the server has another disk
    with tempfile.TemporaryDirectory(dir=memory) as name, s3_server(Path(name) / "s3", idle=True) as endpoint:
        server = children(os.getpid())
        os.environ.update(ENVIRONMENT, OBS_ENDPOINT=endpoint)
        run = Path(name) / "run"
        (run / "checkpoint").mkdir(parents=True)
        outputs = modelarts._Outputs(run, "s3://bucket/run")
        for _ in range(10):
            step()
        pairs, pushes = [], 0
        while len(pairs) < args.pairs:
            if not (sender := children(outputs._thread.native_id)):
                (run / "checkpoint" / "latest.ckpt").write_bytes(os.urandom(300 << 20))
                outputs.request_upload()
                pushes += 1
                while not (sender := children(outputs._thread.native_id)):
                    time.sleep(0.01)
            pair = {}
            for signal_sent in random.sample((signal.SIGCONT, signal.SIGSTOP), 2):
                for process in (*sender, *server):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal_sent)
                began = time.perf_counter()
                for _ in range(args.steps):
                    step()
                pair[signal_sent] = (time.perf_counter() - began) / args.steps
            for process in (*sender, *server):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
            if children(outputs._thread.native_id) == sender:  # the upload lasted until the end of the pair
                pairs.append((pair[signal.SIGSTOP], pair[signal.SIGCONT]))
        outputs.finish()
    ratios = sorted(uploading / idle for idle, uploading in pairs)
    spread = [statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(2000)]
    low, high = statistics.quantiles(spread, n=40)[0], statistics.quantiles(spread, n=40)[-1]
    idle, uploading = (statistics.median(pair[number] for pair in pairs) for number in (0, 1))
    total = sum(uploading for _, uploading in pairs) / sum(idle for idle, _ in pairs)
    print(
        f"{len(pairs)} pairs of {args.steps} steps in {pushes} uploads: a step takes {1000 * idle:.1f} ms, with an "
        f"upload {1000 * uploading:.1f} ms; median of the ratios {statistics.median(ratios):.3f} "
        f"(95 %: {low:.3f} to {high:.3f}), ratio of the sums {total:.3f}"
    )


if __name__ == "__main__":
    main()
