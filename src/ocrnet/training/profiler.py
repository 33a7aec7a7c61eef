"""Profiles training steps: where the time of a step goes, by part and by operator."""

import argparse
import bisect
import csv
import json
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
from mindspore import Tensor
from mindspore.profiler import ProfilerActivity, profile, tensorboard_trace_handler

from ocrnet import errors
from ocrnet.config import Config
from ocrnet.errors import UserError
from ocrnet.runtime import progress
from ocrnet.training.step_monitor import StepResult
from ocrnet.training.step_runner import StepRunner

WARM_UP = 3
"""Steps before the profile: the first compiles the network, the next allocate memory."""
MOST_STEPS = 100
FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
_SHOWN = 15  # operators in the table


def step_count(text: str) -> int:
    """Parses the value of --profile: 1 to `MOST_STEPS` steps."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_STEPS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of steps from 1 to {MOST_STEPS}")
    return int(text)


class Kernel(NamedTuple):
    """One execution of an operator."""

    start: float
    """Nanoseconds since 1970."""
    ms: float
    name: str
    """With its scope: Gradients/Default/loss_network-OCRLoss/.../Conv2DBackpropFilter-op3."""

    @property
    def operator(self) -> str:
        return re.sub(r"-op\d+$", "", self.name.rpartition("/")[2])


class Step(NamedTuple):
    """A profiled step; times in nanoseconds since 1970."""

    number: int
    start: int
    end: int
    data: list[tuple[int, int]]
    """Start and end of each wait for a batch."""
    marks: list[tuple[int, str]]
    """PyNative mode: (time, the part that starts)."""


class ProfiledSteps:
    """Runs training steps as `runner` does, and profiles `steps` of them after `WARM_UP` others. Training continues.

    MindSpore's profiler records the operators. A profiled step ends when the device has finished it, so steps do not
    overlap. The results of the steps do not change.

    Args:
        steps_left: steps that this run will do.

    Raises:
        UserError: these are too few.
    """

    def __init__(self, runner: StepRunner, config: Config, steps: int, steps_left: int) -> None:
        if steps_left < WARM_UP + steps:
            raise UserError(
                f"--profile {steps}: {WARM_UP} steps to warm up and {steps} to profile, but {steps_left} are left to "
                "train. Give fewer, or raise train.total_step."
            )
        self.runner = runner
        self.config = config
        self.steps = steps
        self.folder = config.save_dir / "profile"
        self._done = 0
        self._profiled: list[Step] = []
        self._data: list[tuple[int, int]] = []
        self._marks: list[tuple[int, str]] = []
        self._hooks: list = []

    def run(self) -> tuple[list[StepResult], float]:
        """Run the next step; see `StepRunner.run`. Prints and writes the profile after the last profiled step."""
        first = self._done == WARM_UP
        self._done += 1
        if not WARM_UP < self._done <= WARM_UP + self.steps:
            return self.runner.run()
        if first:
            self._start()
        self._data, self._marks = [], []
        started = time.time_ns()
        result = self.runner.run()
        self._wait()
        number = self.runner.progress.step + 1
        self._profiled.append(Step(number, started, time.time_ns(), self._data, self._marks))
        if self._done == WARM_UP + self.steps:
            self._finish()
        return result

    def _wait(self) -> None:
        self.runner.train_step.optimizer.parameters[-1].asnumpy()  # the last one to be updated

    def _start(self) -> None:
        self._wait()
        self.runner.batches = self._timed(self.runner.batches)
        step = self.runner.train_step
        if self.config.ms_mode == 1:  # the names of its operators do not tell the part
            self._hooks = [
                step.loss_network.register_forward_hook(lambda cell, inputs, output: self._mark(BACKWARD, output[0])),
                step.reduce.register_forward_pre_hook(lambda cell, inputs: self._mark(UPDATE, inputs[0][0])),
            ]
        target = ms.get_context("device_target")
        activities = {"CPU": [], "Ascend": [ProfilerActivity.NPU], "GPU": [ProfilerActivity.GPU]}[target]
        # a CPU's records become a table and a trace here; MindSpore's own analysis starts processes
        self._temporary = tempfile.TemporaryDirectory(prefix="ocrnet-profile-")
        self._records = Path(self._temporary.name) if target == "CPU" else self.folder
        ready = tensorboard_trace_handler(str(self._records), analyse_flag=target != "CPU")
        self._profiler = profile(
            activities=[ProfilerActivity.CPU, *activities], start_profile=False, on_trace_ready=ready
        )
        self._profiler.start()

    def _timed(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            started = time.time_ns()
            batch = next(batches, None)
            if batch is None:
                return
            self._data.append((started, time.time_ns()))
            self._mark(FORWARD)
            yield batch

    def _mark(self, part: str, last: Tensor | None = None) -> None:
        if last is not None:
            last.asnumpy()  # waits until it is computed
        self._marks.append((time.time_ns(), part))

    def _finish(self) -> None:
        self._profiler.stop()
        for hook in self._hooks:
            hook.remove()
        kernels = read_kernels(self._records)
        self._temporary.cleanup()
        by_time = self.config.ms_mode == 1
        timed = [(step, kernel, part) for step in self._profiled for kernel, part in parts_of(step, kernels, by_time)]
        size = f"{self.config.train.images_per_step} images of {' x '.join(map(str, self.config.data.crop_size))}"
        title = f"steps {self._profiled[0].number} to {self._profiled[-1].number}, {size}, {self.config.model.backbone}"
        text = table(self._profiled, [(kernel, part) for _, kernel, part in timed])
        errors.write_text(self.folder / "profile.txt", f"{title}\n\n{text}\n")
        if self._records != self.folder:
            errors.write_text(self.folder / "trace.json", json.dumps(trace(self._profiled, timed)))
        progress.write(f"profile of {title}, in {self.folder}\n{text}")


def read_kernels(folder: Path) -> list[Kernel]:
    """Returns the operators that MindSpore's profiler recorded, in the order of their start.

    On a CPU it writes lines NAME;DEVICE;START,MILLISECONDS,THREAD START,... On an Ascend, its documentation describes
    kernel_details.csv.
    """
    kernels = []
    for file in folder.rglob("cpu_op_execute_timestamp_*.txt"):
        for line in file.read_text().splitlines():
            name, _, calls = line.split(";")
            kernels += [
                Kernel(float(start), float(spent), name)
                for start, spent, _ in (call.split(",") for call in calls.split())
            ]
    for file in folder.rglob("kernel_details.csv"):
        with file.open(newline="") as lines:
            kernels += [
                Kernel(float(row["Start Time(us)"]) * 1e3, float(row["Duration(us)"]) / 1e3, row["Name"])
                for row in csv.DictReader(lines)
            ]
    return sorted(kernels)


def parts_of(step: Step, kernels: list[Kernel], by_time: bool) -> list[tuple[Kernel, str]]:
    """Returns the operators of a step, each with its part: forward, backward or update.

    In graph mode the name tells it, with two exceptions. MindSpore gives some operators no scope, as in
    Expand/_MatMulExt/...: they belong to the part of the operator before. A cell's own `bprop` has the scope of the
    forward pass: it is backward after the first gradient of a convolution. So the gradient of the loss itself, which
    comes before, counts as forward.

    Args:
        by_time: by the marks of the step instead.
    """
    times, found, part, batch, in_backward = [mark[0] for mark in step.marks], [], FORWARD, 0, False
    for kernel in kernels:
        if not step.start <= kernel.start < step.end:
            continue
        last = max(0, bisect.bisect(times, kernel.start) - 1)
        if by_time:
            part = step.marks[last][1]
        else:
            if last > batch:  # with accumulated steps, a step has several batches
                part, batch, in_backward = FORWARD, last, False
            in_backward = in_backward or kernel.operator.startswith("Conv2DBackprop")
            part = _part(kernel, part, in_backward)
        found.append((kernel, part))
    return found


def _part(kernel: Kernel, before: str, in_backward: bool) -> str:
    if kernel.name.startswith("Gradients/"):
        return BACKWARD
    if kernel.name.startswith("Default/loss_network-"):
        return BACKWARD if in_backward else FORWARD
    return UPDATE if kernel.name.startswith("Default/") else before


def table(steps: list[Step], kernels: list[tuple[Kernel, str]]) -> str:
    """Returns milliseconds and per cent of a step by part, and its slowest operators; means over the steps."""
    count = len(steps)
    whole = sum(step.end - step.start for step in steps) / 1e6 / count
    parts: dict[str, float] = {"data": sum(end - start for step in steps for start, end in step.data) / 1e6 / count}
    operators: dict[tuple[str, str], list[float]] = defaultdict(list)
    for kernel, part in kernels:
        operators[kernel.operator, part].append(kernel.ms / count)
    for wanted in (FORWARD, BACKWARD, UPDATE):
        parts[wanted] = sum(sum(spent) for (_, part), spent in operators.items() if part == wanted)
    parts["host"] = whole - sum(parts.values())

    def row(name: str, spent: float, part: str = "", calls: str = "") -> str:
        return f"{name:<24}{part:<10}{calls:>6}{spent:>12.2f}{100 * spent / whole:>8.1f}"

    lines = [f"{'part':<40}{'ms per step':>12}{'%':>8}"]
    lines += [row(name, spent) for name, spent in parts.items()]
    lines += [row("step", whole), "", f"{'operator':<24}{'part':<10}{'calls':>6}{'ms per step':>12}{'%':>8}"]
    ranked = sorted(operators.items(), key=lambda entry: -sum(entry[1]))
    lines += [row(name, sum(spent), part, f"{len(spent) / count:.0f}") for (name, part), spent in ranked[:_SHOWN]]
    others = [value for _, spent in ranked[_SHOWN:] for value in spent]
    lines += [row("others", sum(others), calls=f"{len(others) / count:.0f}")] if others else []
    return "\n".join(lines) if kernels else "\n".join([*lines[:-2], "MindSpore's profiler gave no operators"])


def trace(steps: list[Step], kernels: list[tuple[Step, Kernel, str]]) -> dict:
    """Returns a trace in the JSON format of Chrome's trace viewer, which Perfetto opens too; times in microseconds."""
    lanes = {lane: number for number, lane in enumerate(("steps", "data", FORWARD, BACKWARD, UPDATE))}

    def event(lane: str, name: str, start: float, duration: float, arguments: dict | None = None) -> dict:
        times = {"ts": (start - steps[0].start) / 1e3, "dur": duration / 1e3}
        return {"ph": "X", "pid": 0, "tid": lanes[lane], "name": name, **times, "args": arguments or {}}

    events = [
        {"ph": "M", "pid": 0, "tid": number, "name": "thread_name", "args": {"name": lane}}
        for lane, number in lanes.items()
    ]
    events += [event("steps", f"step {step.number}", step.start, step.end - step.start) for step in steps]
    events += [event("data", "wait", start, end - start) for step in steps for start, end in step.data]
    events += [
        event(part, kernel.operator, kernel.start, kernel.ms * 1e6, {"name": kernel.name, "step": step.number})
        for step, kernel, part in kernels
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}
