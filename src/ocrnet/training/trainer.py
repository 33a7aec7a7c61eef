"""The training loop."""

import sys
from collections.abc import Callable

from ocrnet import errors
from ocrnet.config import Config
from ocrnet.data import loader
from ocrnet.data.datasets import SegmentationDataset
from ocrnet.distributed import collectives, launcher
from ocrnet.errors import UserError
from ocrnet.evaluation.evaluator import Evaluator
from ocrnet.inference.predictor import Predictor
from ocrnet.runtime.signals import Stopped, StopRequest
from ocrnet.training.checkpoint import CheckpointFolder
from ocrnet.training.profiler import ProfiledSteps
from ocrnet.training.run_log import RunLog
from ocrnet.training.run_progress import Progress
from ocrnet.training.sample_monitor import SampleMonitor
from ocrnet.training.saver import Saver, first_nonfinite
from ocrnet.training.step import TrainOneStep
from ocrnet.training.step_monitor import StepMonitor, StepResult
from ocrnet.training.step_reporter import StepReporter
from ocrnet.training.step_runner import StepRunner
from ocrnet.training.stop_check import StopCheck
from ocrnet.training.validation import Validation


class Trainer:
    """Trains from the current step of a run to its last step.

    Args:
        train_step: cell with the network, loss and optimizer.
        validation: data set to evaluate every `eval.interval` steps and at the end (`eval.images` of it); None for no
            evaluation.
        stop: checked between steps (about once a second with several ranks) and between evaluated images.
        on_saved: called after each checkpoint.
        profile: steps to profile on rank 0; see `ProfiledSteps`.
    """

    def __init__(
        self,
        config: Config,
        train_step: TrainOneStep,
        training: SegmentationDataset,
        validation: SegmentationDataset | None,
        stop: StopRequest | None = None,
        on_saved: Callable[[], None] = lambda: None,
        profile: int = 0,
    ) -> None:
        self.config = config
        self.train_step = train_step
        self.training = training
        self.validation = validation
        self.stop = stop or StopRequest()
        self.on_saved = on_saved
        self.profile = profile if launcher.ranks().is_main else 0
        self.network = train_step.loss_network.network
        self.checkpoints = CheckpointFolder(config)
        self.step_samples = config.train.images_per_step * launcher.ranks().size

    def prepare(self, resume_from: str | None) -> None:
        """Set up `save_dir` and resume from a checkpoint: a file, "auto" for the newest one, None for a new run.

        Only rank 0 reads and writes files. It broadcasts the weights, so the other machines need no checkpoint.
        """
        progress = Progress()
        if launcher.ranks().is_main:
            progress, notes = self.checkpoints.open(resume_from, self.train_step.state())
            for note in notes:
                print(note)
            errors.write_text(self.config.save_dir / "config.yml", self.config.to_yaml())
        self.progress = progress = collectives.all_gather_object(progress)[0]
        collectives.broadcast_parameters(self.train_step.state())
        for note in (
            progress.start(len(self.training), self.step_samples),
            progress.choose_best_by(self.config.eval.best_by) if self.validation else "",
        ):
            if note:
                print(f"resumed: {note}")
        steps_left = progress.steps_left(self.config.train, self.step_samples)
        if not steps_left:
            print(f"nothing left to train: the run has {progress.step} steps, {progress.epoch} epochs")
        self.last_step = progress.step + steps_left
        last = progress.samples + steps_left * self.step_samples
        position, batch = (progress.epoch, progress.epoch_samples), self.config.train.images_per_step
        self.samples = loader.TrainingSamples(
            self.training, self.config.data, self.config.seed, batch, progress.samples, last, launcher.ranks(), position
        )

        log = RunLog(self.config.save_dir, progress.step, progress.evaluated, launcher.ranks().rank)
        self.log = log
        self.saver = Saver(self.checkpoints, progress, log, self.on_saved)
        self.step_monitor = StepMonitor(progress, self.config.train.overflow_limit, self._describe)
        self.sample_monitor = SampleMonitor(self.samples, progress, self.step_samples)
        self.validator = None
        if self.validation:
            images = self.validation.evenly_spaced(self.config.eval.images or len(self.validation))
            evaluator = Evaluator(Predictor(self.network, self.config), images, self.config)
            self.validator = Validation(evaluator, self.config, progress, log)

    def train(self) -> None:
        """Train to the last step. Evaluates and saves checkpoints in between.

        Raises:
            Stopped: a signal (SIGTERM, Ctrl-C) stopped the run. The current step was finished and saved.
            UserError: the loss or the weights are not finite, too many steps overflowed, a pair cannot be read, or the
                last checkpoint cannot be written.
        """
        config, progress = self.config, self.progress
        batches = loader.training_batches(self.samples, config.train.batch_size)
        runner = StepRunner(config, self.train_step, self.samples, batches, progress)
        if self.profile:
            runner = ProfiledSteps(runner, config, self.profile, self.last_step - progress.step)
        stop_check = StopCheck(self.stop)
        self.train_step.set_train(True)
        self.reporter = StepReporter(config, self.log, progress.step, self.last_step, self.step_samples)
        with self.reporter, self.stop:
            while True:
                signal = stop_check.signal(progress.step)
                signal = self._save_and_evaluate(signal) or signal
                if signal or self._is_finished():
                    break
                results, lr = runner.run()
                progress.advance(self.step_samples)
                self._report(results, lr)
        self.log.close()
        self._finish(signal)

    def _report(self, results: list[StepResult], lr: float) -> None:
        step = self.progress.step
        self.step_monitor.add(step, results)
        if self.reporter.due(step):
            losses = self.step_monitor.read()
            self.reporter.report(step, *losses, lr, self.train_step.loss_scale())
        self.reporter.advance()
        self.sample_monitor.report_missing_classes()

    def _save_and_evaluate(self, signal: int) -> int:
        """Save and evaluate if the current step is due.

        Saves before the evaluation, which may fail, and again with its score. After a `signal`, the resumed run
        evaluates instead.

        Returns:
            the signal that arrived during the evaluation, or 0.
        """
        step, ended = self.progress.step, self._is_finished()
        evaluates = self.validator is not None and self.validator.due(last=ended)
        due = evaluates or ended or bool(signal) or step % self.config.checkpoint.interval == 0
        if not step or not due:
            return 0
        self.step_monitor.read()
        with self.reporter.paused():
            if step > self.saver.step:
                if name := first_nonfinite(self.train_step.state()):
                    advice = "Lower schedule.lr, or set train.clip_grad=1, and resume."
                    raise UserError(f"step {step}: {name} is not finite{self._describe(step)} {advice}")
                self._save(is_best=False, required=ended or bool(signal))
            return self._evaluate() if evaluates and not signal else 0

    def _evaluate(self) -> int:
        """Evaluate and save the score. Returns the signal that arrived meanwhile, or 0."""
        progress, best = self.progress, (self.progress.best_score, self.progress.best_step)
        try:
            with self.train_step.averaged_weights():
                improved = self.validator.evaluate(self.stop)
        except Stopped as stopped:
            return stopped.number
        except Exception:  # on any error, tell the user which step is saved and how to repeat the evaluation
            step = self.saver.step
            saved = f"step {step} is in {self.checkpoints.path}" if step else "no step has been saved"
            text = f"the evaluation after step {progress.step} failed: {saved}; --resume_ckpt auto repeats it"
            print(f"\n{text}", file=sys.stderr)
            raise
        finally:
            self.train_step.set_train(True)
        if not self._save(improved, required=self._is_finished()):
            progress.best_score, progress.best_step = best  # best.ckpt still has the weights of this score
        return 0

    def _save(self, is_best: bool, required: bool) -> bool:
        self.sample_monitor.count_replaced()
        return self.saver.save(self.train_step.state(), is_best, required)

    def _finish(self, signal: int) -> None:
        progress = self.progress
        self.sample_monitor.summarize()
        complete = self._is_finished() and (self.validator is None or progress.evaluated == progress.step)
        if signal and not complete:
            resume = f"--resume_ckpt auto resumes from {self.checkpoints.latest}"
            raise Stopped(signal, f"stopped after step {progress.step}; {resume}")
        if progress.step < self.last_step and (reason := self._stopped_early()):
            print(reason)
        skipped = f", {progress.skipped} steps skipped for overflow" if progress.skipped else ""
        print(f"{progress.step} steps done{skipped}; checkpoints in {self.checkpoints.path}")

    def _is_finished(self) -> bool:
        return self.progress.step >= self.last_step or bool(self._stopped_early())

    def _stopped_early(self) -> str:
        """Returns why early stopping ends the run; "" if it does not. The same on all ranks."""
        return self.progress.stopped_early(self.config.train.patience) if self.validator else ""

    def _describe(self, step: int) -> str:
        """Returns the loss scale, the first images of the batch and the last checkpoint as text. Closes the log."""
        self.log.close()
        names = ", ".join(map(str, self.sample_monitor.first_images(step)))
        return f", loss scale {self.train_step.loss_scale():g}. First images of the batch: {names}. {self.saver.kept()}"
