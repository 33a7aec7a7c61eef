"""Reports what the samples of a run were like: pairs that could not be read, and classes that do not occur."""

import itertools

import numpy as np

from ocrnet.data.loader import TrainingSamples
from ocrnet.distributed import collectives
from ocrnet.runtime import progress
from ocrnet.training.run_progress import Progress


class SampleMonitor:
    """Follows the samples of all ranks, whose data threads are ahead of the steps."""

    def __init__(self, samples: TrainingSamples, run: Progress, step_samples: int) -> None:
        self.samples = samples
        self.run = run
        self.step_samples = step_samples
        self._watched_until = min(samples.first + samples.watched, samples.last)

    def count_replaced(self) -> None:
        """Count the pairs that another pair replaced in the steps so far (data.on_bad_sample: skip)."""
        counts, bad = self.run.replaced, self.samples.bad
        due = [entry for entry in bad if entry[0] < self.run.samples]
        for entry in due:
            bad.remove(entry)
        for _, problem in sorted(itertools.chain(*collectives.gather(due))):
            if problem not in counts:
                progress.say(f"warning: {problem}; the next pair replaces it")
            counts[problem] = counts.get(problem, 0) + 1

    def report_missing_classes(self) -> None:
        """Once, after the first few hundred samples: a class that has not occurred may be a wrong label map."""
        if self.run.samples - self.step_samples < self._watched_until <= self.run.samples:
            seen = np.any(collectives.gather(self.samples.seen), axis=0)
            if note := self.samples.missing_classes_note(seen):
                progress.say(f"note: {note}")

    def summarize(self) -> None:
        """Print which pairs were replaced, and how often."""
        if counts := self.run.replaced:
            print(f"pairs that could not be read and were replaced (data.on_bad_sample): {len(counts)}")
            for problem, count in counts.items():
                print(f"  {count} times: {problem}")
