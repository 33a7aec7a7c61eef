"""The training loop: steps, progress, evaluation, checkpoints."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

from mindspore import Parameter, Tensor
from tensorboardX import SummaryWriter

from ocrnet import optim, progress
from ocrnet.checkpoint import CheckpointFolder, Progress, resume
from ocrnet.config import Config
from ocrnet.data import loader
from ocrnet.data.datasets import SegmentationDataset, palette
from ocrnet.errors import UserError
from ocrnet.inference import Predictor, predict_dataset
from ocrnet.metrics import ConfusionMatrix
from ocrnet.train_cell import TrainOneStep
from ocrnet.visualize import side_by_side


class Trainer:
    """Runs a recipe from where it stands to its last step.

    Args:
        train_step: network, loss and optimizer in one cell.
        validation: evaluated every `eval.interval` steps and at the end; None for no evaluation.
    """

    def __init__(
        self,
        config: Config,
        train_step: TrainOneStep,
        training: SegmentationDataset,
        validation: SegmentationDataset | None,
    ) -> None:
        self.config = config
        self.train_step = train_step
        self.training = training
        self.validation = validation
        self.network = train_step.loss_network.network
        self.predictor = Predictor(self.network, config)
        self.progress = Progress()
        self.checkpoints = CheckpointFolder(config)
        self._shown = time.monotonic()
        self._unread: list[Tensor] = []  # whether each step since the last report made its update

    def prepare(self, resume_from: str | None) -> None:
        """Make `save_dir` ready and, when asked, go on from a checkpoint: a file, or "auto" for the latest if any."""
        path = self.checkpoints.latest if resume_from == "auto" else resume_from and Path(resume_from)
        if resume_from == "auto" and not path.exists():
            print(f"no checkpoint in {self.checkpoints.path} yet: starting from the beginning")
            path = None
        if path:
            self.progress = resume(self._parameters(), path)
            print(f"going on from {path} after step {self.progress.step}")
        if moved := self.checkpoints.create(resuming=bool(path)):
            print(moved)
        (self.config.save_dir / "config.yml").write_text(self.config.to_yaml(), encoding="utf-8")

    def train(self) -> None:
        """All steps that are left, then the last evaluation."""
        config, total = self.config, self.config.train.total_step
        batches = self._batches()
        with (
            (config.save_dir / "train.log").open("a", encoding="utf-8", buffering=1) as self.log,
            SummaryWriter(str(config.save_dir / "tensorboard"), purge_step=self.progress.step) as self.board,
            progress.bar(
                total=total,
                initial=self.progress.step,
                desc="train",
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            ) as self.bar,
        ):
            if self.progress.step < total:
                self.bar.set_postfix_str("compiling the network, once" if config.ms_mode == 0 else "starting")
            self.train_step.set_train(True)
            for step in range(self.progress.step, total):
                started = time.monotonic()
                self._one_step(step, next(batches), started)
                done = step + 1
                evaluated = self.validation is not None and (done % config.eval.interval == 0 or done == total)
                improved = evaluated and self._evaluate()
                if evaluated or done % config.checkpoint.interval == 0 or done == total:
                    self._count_skipped()
                    self.checkpoints.save(self._parameters(), self.progress, improved)
        skipped = f", {self.progress.skipped} steps skipped for overflow" if self.progress.skipped else ""
        print(f"{total} steps done{skipped}; checkpoints in {self.checkpoints.path}")

    def _parameters(self) -> dict[str, Parameter]:
        """All that changes in training: weights, BatchNorm statistics, optimizer, loss scale."""
        return {**self.train_step.parameters_dict(), **self.train_step.loss_scale_parameters()}

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        config = self.config
        first, batch = self.progress.samples, config.train.batch_size
        last = first + (config.train.total_step - self.progress.step) * batch
        samples = loader.TrainingSamples(self.training, config.data, config.seed, batch, first, last)
        return loader.training_batches(samples, batch)

    def _one_step(self, step: int, batch: tuple[Tensor, Tensor], started: float) -> None:
        config, optimizer = self.config, self.train_step.optimizer
        lr = optim.learning_rate(config.schedule, step, config.train.total_step)
        optim.set_learning_rate(optimizer, lr)
        main, auxiliary, updated = self.train_step(*batch)
        self.progress.step = step + 1
        self.progress.samples += config.train.batch_size
        self.bar.update(1)
        # Reading a result waits for the device, so it is done once a second, and when it is written down.
        logged = (step + 1) % config.train.log_interval == 0 or step == 0
        self._unread.append(updated)
        if logged or time.monotonic() - self._shown > 1:
            self._shown = time.monotonic()
            self._count_skipped()
            self._report(step + 1, float(main.asnumpy()), float(auxiliary.asnumpy()), lr, started, logged)

    def _count_skipped(self) -> None:
        self.progress.skipped += sum(not updated.asnumpy() for updated in self._unread)
        self._unread.clear()

    def _report(self, step: int, main: float, auxiliary: float, lr: float, started: float, logged: bool) -> None:
        config = self.config
        loss = main + config.loss.auxiliary_weight * auxiliary
        if not math.isfinite(loss) and config.train.loss_scale.kind == "none":
            raise UserError(f"step {step}: the loss is {loss}. Lower schedule.lr, or train.clip_grad=1, and resume.")
        seconds = time.monotonic() - started
        rate = config.train.batch_size / seconds
        self.bar.set_postfix_str(f"loss {loss:.4f}, lr {lr:.6f}, {rate:.1f} img/s")
        if not logged:
            return
        scale = self.train_step.loss_scale()
        self.log.write(
            f"step {step}/{config.train.total_step}, loss: {loss:.6f}, main: {main:.6f}, aux: {auxiliary:.6f}, "
            f"cur_lr: {lr:.8f}, loss_scale: {scale:g}, cost {1000 * seconds:.1f} ms\n"
        )
        for name, value in {
            "loss/total": loss,
            "loss/main": main,
            "loss/auxiliary": auxiliary,
            "learning_rate": lr,
            "loss_scale": scale,
            "images_per_second": rate,
        }.items():
            self.board.add_scalar(name, value, step)

    def _evaluate(self) -> bool:
        """Evaluate, say the score, and tell whether it is the best so far."""
        started = time.monotonic()
        matrix = ConfusionMatrix(self.validation.classes)
        predicted = predict_dataset(self.predictor, self.validation, self.config.eval.batch_size)
        for number, (name, picture, label, prediction) in enumerate(predicted):
            matrix.update(label, prediction)
            if number < self.config.eval.board_pictures:
                panels = side_by_side(picture, label, prediction, palette(self.config.data))
                self.board.add_image(f"picture_label_prediction/{name}", panels, self.progress.step, dataformats="HWC")
        self.train_step.set_train(True)
        improved = matrix.miou > self.progress.best_miou
        self.progress.best_miou = max(matrix.miou, self.progress.best_miou)
        self._say(matrix, improved, time.monotonic() - started)
        return improved

    def _say(self, matrix: ConfusionMatrix, improved: bool, seconds: float) -> None:
        step = self.progress.step
        text = (
            f"step {step}: mIoU {100 * matrix.miou:.2f} %, pixel accuracy {100 * matrix.pixel_accuracy:.2f} % on "
            f"{matrix.images} images in {seconds:.0f} s ({'best so far' if improved else 'best'}: "
            f"{100 * self.progress.best_miou:.2f} %)"
        )
        progress.say(text)
        self.log.write(text + "\n")
        self.board.add_scalar("val/miou", matrix.miou, step)
        self.board.add_scalar("val/pixel_accuracy", matrix.pixel_accuracy, step)
        for name, value in zip(matrix.classes, matrix.iou, strict=True):
            if math.isfinite(value):  # the class occurs
                self.board.add_scalar(f"val_iou/{name}", value, step)
