"""Trains a small network in graph mode and prints what each step does outside of its graph; see test_step_runner.py.

MindSpore's debug log, in the same stream, has a line for each operator.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from mindspore import Tensor, nn, ops

from ocrnet.config import command_line
from ocrnet.data.splits import open_dataset
from ocrnet.models.layers import Dropout2d
from ocrnet.runtime import device
from ocrnet.training import step_reporter
from ocrnet.training.losses import OCRLoss
from ocrnet.training.optimizer import make_optimizer
from ocrnet.training.step import TrainOneStep, make_loss_scaler
from ocrnet.training.trainer import Trainer


class OneConvolution(nn.Cell):
    """A network that compiles in a second."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.dropout = Dropout2d(0.5, 3, "dropout")
        self.classifier = nn.Conv2d(3, classes, 1, has_bias=True)

    def construct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.classifier(self.dropout(images))
        return logits, logits


class PrintingTrainer(Trainer):
    """Prints STEP before each step, READ whenever a value is read from the device, END after the last step."""

    def _save_and_evaluate(self, signal: int) -> int:
        ended = self._is_finished()
        print("END" if ended else "STEP", file=sys.stderr, flush=True)
        if ended:
            sys.setprofile(None)
        return 0


def print_reads(frame: object, event: str, function: object) -> None:
    if event == "c_call" and function.__name__ in ("asnumpy", "item"):
        print("READ", file=sys.stderr, flush=True)


if __name__ == "__main__":
    _, config = command_line.parse(command_line.config_parser(""), sys.argv[1:])
    device.init("CPU", seed=0)
    step_reporter._BAR_INTERVAL = 1000
    loss_network = OCRLoss(OneConvolution(19), config.loss, 19, False)
    optimizer = make_optimizer(config.optimizer, loss_network)
    step = TrainOneStep(loss_network, optimizer, make_loss_scaler(config.train.loss_scale))
    trainer = PrintingTrainer(config, step, open_dataset(config.data, "train"), None)
    trainer.prepare(None)
    rate = optimizer.learning_rate
    ops.assign(rate, rate + rate)  # two operators that the log must show
    sys.setprofile(print_reads)
    trainer.train()
