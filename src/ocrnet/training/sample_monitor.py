"""Reports problems with the training samples: unreadable pairs and classes that do not occur."""

import itertools
from pathlib import Path

import numpy as np

from ocrnet.data.loader import TrainingSamples
from ocrnet.distributed import collectives
from ocrnet.runtime import progress
from ocrnet.training.run_progress import Progress


class SampleMonitor:
    """Monitors the samples of all ranks. Their data threads run ahead of the steps."""

    def __init__(self, samples: TrainingSamples, progress: Progress, step_samples: int) -> None:
        self.samples = samples
        self.progress = progress
        self.step_samples = step_samples
        self._watched_until = min(samples.first + samples.watched, samples.last)

    def count_replaced(self) -> None:
        """Count the pairs that were replaced in the steps so far (data.on_bad_sample: skip)."""
        counts, bad = self.progress.replaced, self.samples.bad
        due = [entry for entry in bad if entry[0] < self.progress.samples]
        for entry in due:
            bad.remove(entry)
        for _, problem in sorted(itertools.chain(*collectives.all_gather_object(due))):
            if problem not in counts:
                progress.write(f"warning: {problem}; replaced by the next pair")
            counts[problem] = counts.get(problem, 0) + 1

    def report_missing_classes(self) -> None:
        """Print, once after the first few hundred samples, which classes have not occurred: maybe a wrong label map."""
        if self.progress.samples - self.step_samples < self._watched_until <= self.progress.samples:
            seen = np.any(collectives.all_gather_object(self.samples.seen), axis=0)
            if note := self.samples.missing_classes_note(seen):
                progress.write(f"note: {note}")

    def first_images(self, step: int) -> list[Path]:
        """Returns the image files of the first samples of a step, at most 4."""
        first = self.progress.samples - (self.progress.step - step + 1) * self.step_samples
        numbers = range(first, first + min(self.step_samples, 4))
        return [self.samples.dataset.pairs[self.samples.image_index(number)][0] for number in numbers]

    def summarize(self) -> None:
        """Print which pairs were replaced and how often."""
        if counts := self.progress.replaced:
            print(f"unreadable pairs that were replaced (data.on_bad_sample): {len(counts)}")
            for problem, count in counts.items():
                print(f"  {count} times: {problem}")
