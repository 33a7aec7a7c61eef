"""The training loop: steps, progress, evaluation, checkpoints."""

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from mindspore import Parameter, Tensor

from ocrnet import errors
from ocrnet.config import Config
from ocrnet.data import loader
from ocrnet.data.datasets import SegmentationDataset, palette
from ocrnet.distributed import collectives, launcher
from ocrnet.errors import UserError
from ocrnet.evaluation.metrics import ConfusionMatrix
from ocrnet.inference.predictor import Predictor, predict_dataset
from ocrnet.models.layers import draw_dropout, dropout_layers
from ocrnet.runtime import progress
from ocrnet.runtime.signals import Stopped, StopRequest
from ocrnet.training import optimizer
from ocrnet.training.checkpoint import CheckpointFolder
from ocrnet.training.run_log import RunLog
from ocrnet.training.run_progress import Progress
from ocrnet.training.step import TrainOneStep
from ocrnet.visualization import side_by_side


class Trainer:
    """Runs a config from where it stands to its last step.

    Args:
        train_step: network, loss and optimizer in one cell.
        validation: evaluated every `eval.interval` steps and at the end; None for no evaluation.
        stop: asked between steps and between evaluated images.
        on_saved: called after each checkpoint.
    """

    def __init__(
        self,
        config: Config,
        train_step: TrainOneStep,
        training: SegmentationDataset,
        validation: SegmentationDataset | None,
        stop: StopRequest | None = None,
        on_saved: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.train_step = train_step
        self.training = training
        self.validation = validation
        network = train_step.loss_network.network
        self.dropout = dropout_layers(network)
        self.stop = stop or StopRequest()
        self.on_saved = on_saved
        self.ranks = launcher.ranks()
        self.step_samples = config.train.images_per_step * self.ranks.size
        self.predictor = Predictor(network, config)
        self.progress = Progress()
        self.checkpoints = CheckpointFolder(config)
        self._shown = time.monotonic()
        self._saved = 0  # the step of the last checkpoint
        self._signal = 0  # of a wish to stop that all ranks have heard of
        # (step, what `train_step` gave for each of its batches) of the steps since the last report
        self._unread: list[tuple[int, list[tuple[Tensor, Tensor, Tensor]]]] = []

    def prepare(self, resume_from: str | None) -> None:
        """Make `save_dir` ready and, when asked, resume from a checkpoint: a file, or "auto" for the latest if any.

        Rank 0 reads and writes; the others get its weights, so they may be on machines that have neither.
        """
        if self.ranks.first:
            self.progress, notes = self.checkpoints.open(resume_from, self._parameters())
            for note in notes:
                print(note)
            errors.write_text(self.config.save_dir / "config.yml", self.config.to_yaml())
        self.progress = collectives.gather(self.progress)[0]
        collectives.share(self._parameters())
        if note := self.progress.start(len(self.training), self.step_samples):
            print(f"resumed: {note}")
        left = self.progress.steps_left(self.config.train, self.step_samples)
        if not left:
            print(f"nothing is left to train: the run has {self.progress.step} steps, {self.progress.epoch} epochs")
        self.total = self.progress.step + left
        self._saved = self.progress.step
        self.log = RunLog(self.config.save_dir, self.progress.step, self.progress.evaluated, self.ranks.rank)

    def train(self) -> None:
        """All steps that are left, evaluations and checkpoints between them.

        Raises:
            Stopped: SIGTERM or Ctrl-C; the step was finished and saved.
            UserError: the loss or the weights are no longer finite, too many steps overflowed, a pair cannot be read,
                or the last checkpoint cannot be written.
        """
        config, total = self.config, self.total
        self.samples = self._remaining_samples()
        batches = loader.training_batches(self.samples, config.train.batch_size)
        with (
            progress.bar(
                total=total,
                initial=self.progress.step,
                desc="train",
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            ) as self.bar,
            self.stop,
        ):
            if self.progress.step < total:
                self.bar.set_postfix_str("compiling the network, once" if config.ms_mode == 0 else "starting")
            self.train_step.set_train(True)
            while True:
                self._signal = collectives.highest(self.stop.signal)
                self._save_and_evaluate()
                if self._signal or self.progress.step >= total:
                    break
                started = time.monotonic()
                self._one_step(batches, started)
                self._name_missing_classes()
        self.log.close()
        self._say_replaced()
        complete = self.progress.step >= total and (
            self.validation is None or self.progress.evaluated == self.progress.step
        )
        if self._signal and not complete:
            raise Stopped(
                self._signal,
                f"stopped after step {self.progress.step}; --resume_ckpt auto resumes from {self.checkpoints.latest}",
            )
        skipped = f", {self.progress.skipped} steps skipped for overflow" if self.progress.skipped else ""
        print(f"{self.progress.step} steps done{skipped}; checkpoints in {self.checkpoints.path}")

    def _parameters(self) -> dict[str, Parameter]:
        """All that changes in training: weights, BatchNorm statistics, optimizer, loss scale."""
        return {**self.train_step.parameters_dict(), **self.train_step.loss_scale_parameters()}

    def _remaining_samples(self) -> loader.TrainingSamples:
        config, now = self.config, self.progress
        batch, last = config.train.images_per_step, now.samples + (self.total - now.step) * self.step_samples
        position = now.epoch, now.epoch_samples
        return loader.TrainingSamples(
            self.training, config.data, config.seed, batch, now.samples, last, self.ranks, position
        )

    def _one_step(self, batches: Iterator[tuple[Tensor, Tensor]], started: float) -> None:
        config, step = self.config, self.progress.step
        size, parts = config.train.batch_size, config.train.accumulate_steps
        first = self.progress.samples + self.ranks.rank * config.train.images_per_step
        # in steps of the run's beginning, whatever a step is now
        done, total = (samples / self.progress.step_samples for samples in (self.progress.samples, self.samples.last))
        lr = optimizer.learning_rate(config.schedule, done, total)
        optimizer.set_learning_rate(self.train_step.optimizer, lr)
        results = []
        for start in range(first, first + size * parts, size):
            draw_dropout(self.dropout, config.seed, range(start, start + size))
            results.append(self.train_step(*next(batches)))
        self.progress.advance(self.step_samples)
        # Reading a result waits for the device, so it is done once a second, and when it is written down.
        logged = (step + 1) % config.train.log_interval == 0 or step == 0
        self._unread.append((step + 1, results))
        if logged or time.monotonic() - self._shown > 1:
            self._shown = time.monotonic()
            main, auxiliary = self._read_results()
            self._report(step + 1, main, auxiliary, lr, started, logged)
        self.bar.update(1)

    def _read_results(self) -> tuple[float, float]:
        """Judge the steps since the last report; the two losses of the last of them."""
        main = auxiliary = math.nan
        for step, results in self._unread:
            mains, auxiliaries, updates = zip(*([result.asnumpy() for result in part] for part in results), strict=True)
            main, auxiliary, updated = np.mean(mains).item(), np.mean(auxiliaries).item(), updates[-1].item()
            if updated and not math.isfinite(main + auxiliary):
                raise UserError(
                    f"step {step}: the loss is {main:g} (main), {auxiliary:g} (auxiliary){self._circumstances(step)} "
                    "Lower schedule.lr, or set train.clip_grad=1, and resume."
                )
            self.progress.skipped += not updated
            self.progress.skipped_in_row = 0 if updated else self.progress.skipped_in_row + 1
            if self.progress.skipped_in_row >= self.config.train.overflow_limit:
                raise UserError(
                    f"step {step}: the gradients overflowed in {self.progress.skipped_in_row} steps in a row "
                    f"(train.overflow_limit){self._circumstances(step)} Lower train.loss_scale.value or schedule.lr, "
                    "or look at these images, and resume."
                )
        self._unread.clear()
        return main, auxiliary

    def _circumstances(self, step: int) -> str:
        """Loss scale, first images of the step's batch, and the checkpoint that stays; ends the run's log."""
        self.log.close()
        first = self.progress.samples - (self.progress.step - step + 1) * self.step_samples
        numbers = range(first, first + min(self.step_samples, 4))
        names = ", ".join(str(self.training.pairs[self.samples.image(number)][0]) for number in numbers)
        kept = f"The checkpoint of step {self._saved} stays." if self._saved else "There is no checkpoint yet."
        return f", loss scale {self.train_step.loss_scale():g}. The batch begins with {names}. {kept}"

    def _save_and_evaluate(self) -> None:
        """What is due after the steps so far. Asked to stop, it leaves an evaluation to the resumed run.

        The checkpoint is on the disk before the evaluation, which may fail, and is written again with its score.
        """
        config, step, now = self.config, self.progress.step, self.progress
        ends = step >= self.total
        due = self.validation is not None and step > now.evaluated and (step % config.eval.interval == 0 or ends)
        save = step > self._saved and (due or step % config.checkpoint.interval == 0 or ends or bool(self._signal))
        if not step or not (due or save):
            return
        if self._unread:
            self._read_results()
        if save:
            self._check_weights()
            self._save(improved=False)
        if not due or self._signal:
            return
        best = now.best_miou, now.best_step
        try:
            improved = self._evaluate()
        except Stopped as stop:
            self._signal = stop.number
            return
        except Exception:  # whatever it was, the user learns which step is kept and what repeats the evaluation
            kept = f"step {self._saved} is in {self.checkpoints.path}" if self._saved else "no step has been saved"
            print(f"\nthe evaluation after step {step} failed: {kept}; --resume_ckpt auto repeats it", file=sys.stderr)
            raise
        now.evaluated = step
        if not self._save(improved):
            now.best_miou, now.best_step = best  # best.ckpt is still the one that scored this

    def _save(self, improved: bool) -> bool:
        """Write a checkpoint and hand it on; whether there was room.

        Raises:
            UserError: it is the last one of the run and cannot be written.
        """
        step = self.progress.step
        self._note_replaced()
        self.log.sync()  # first: what the checkpoint stands for is written down when it counts
        reason = self.checkpoints.save(self._parameters(), self.progress, improved) if self.ranks.first else ""
        reason = collectives.gather(reason)[0]
        if not reason:
            self._saved = step
            self.on_saved()
            return True
        warning = f"step {step}: no checkpoint could be written in {self.checkpoints.path}: {reason}."
        if step >= self.total or self._signal:
            raise UserError(f"{warning} The one of step {self._saved} stays; fix this and use --resume_ckpt auto.")
        self.log.line(warning)
        if self.ranks.first:
            print(f"\nwarning: {warning} Training goes on and tries again at the next interval.", file=sys.stderr)
        return False

    def _check_weights(self) -> None:
        """A checkpoint with NaN in it would take the place of a good one."""
        for name, parameter in self._parameters().items():
            value = parameter.asnumpy()
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise UserError(
                    f"step {self.progress.step}: {name} is not finite{self._circumstances(self.progress.step)} "
                    "Lower schedule.lr, or set train.clip_grad=1, and resume."
                )

    def _note_replaced(self) -> None:
        """Count the pairs whose neighbours took their places in the steps so far; data threads are ahead of them."""
        counts, bad = self.progress.replaced, self.samples.bad
        due = [entry for entry in bad if entry[0] < self.progress.samples]
        for entry in due:
            bad.remove(entry)
        for _, problem in sorted(itertools.chain(*collectives.gather(due))):
            if problem not in counts:
                progress.say(f"warning: {problem}; its neighbour takes its place")
            counts[problem] = counts.get(problem, 0) + 1

    def _name_missing_classes(self) -> None:
        """Once, after the first few hundred samples: a class that has not occurred may be a wrong label map."""
        watched = min(self.samples.first + self.samples.watched, self.samples.last)
        if self.progress.samples - self.step_samples < watched <= self.progress.samples:
            seen = np.any(collectives.gather(self.samples.seen), axis=0)
            if note := self.samples.missing_classes_note(seen):
                progress.say(f"note: {note}")

    def _say_replaced(self) -> None:
        if counts := self.progress.replaced:
            print(f"pairs that could not be read, replaced by their neighbours (data.on_bad_sample): {len(counts)}")
            for problem, count in counts.items():
                print(f"  {count} times: {problem}")

    def _report(self, step: int, main: float, auxiliary: float, lr: float, started: float, logged: bool) -> None:
        config = self.config
        loss = main + config.loss.auxiliary_weight * auxiliary
        seconds = time.monotonic() - started
        rate = self.step_samples / seconds
        # `bar.update`, which follows, draws it when it is time to
        self.bar.set_postfix_str(f"loss {loss:.4f}, lr {lr:.6f}, {rate:.1f} img/s", refresh=False)
        if not logged:
            return
        scale = self.train_step.loss_scale()
        self.log.line(
            f"step {step}/{self.total}, loss: {loss:.6f}, main: {main:.6f}, aux: {auxiliary:.6f}, "
            f"cur_lr: {lr:.8f}, loss_scale: {scale:g}, cost {1000 * seconds:.1f} ms"
        )
        values = {
            "loss/total": loss,
            "loss/main": main,
            "loss/auxiliary": auxiliary,
            "learning_rate": lr,
            "loss_scale": scale,
            "images_per_second": rate,
        }
        self.log.scalars(step, values)

    def _evaluate(self) -> bool:
        """Evaluate, say the score, and tell whether it is the best so far."""
        started = time.monotonic()
        matrix = ConfusionMatrix(self.validation.classes)
        predicted = predict_dataset(self.predictor, self.validation, self.config.eval.batch_size)
        try:
            for number, (name, image, label, prediction) in enumerate(predicted):
                if self.stop.signal:
                    break
                matrix.update(label, prediction)
                if number < self.config.eval.tensorboard_images:
                    panels = side_by_side(image, label, prediction, palette(self.config.data))
                    self.log.image(self.progress.step, f"image_label_prediction/{name}", panels)
        finally:
            self.train_step.set_train(True)
        if signal := collectives.highest(self.stop.signal):
            raise Stopped(signal)
        matrix = sum(collectives.gather(matrix), ConfusionMatrix(matrix.classes))
        improved = matrix.miou > self.progress.best_miou
        if improved:
            self.progress.best_miou, self.progress.best_step = matrix.miou, self.progress.step
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
        self.log.line(text)
        iou = zip(matrix.classes, matrix.iou, strict=True)
        occurring = {f"val_iou/{name}": value for name, value in iou if math.isfinite(value)}
        self.log.scalars(step, {"val/miou": matrix.miou, "val/pixel_accuracy": matrix.pixel_accuracy, **occurring})
