"""The table and the trace of a profile, from records as MindSpore's profiler writes them."""

import argparse
from types import SimpleNamespace

import pytest

from ocrnet.config import Config
from ocrnet.errors import UserError
from ocrnet.training import profiler
from ocrnet.training.profiler import BACKWARD, FORWARD, UPDATE, Kernel, ProfiledSteps, Step

MS = 1_000_000  # nanoseconds
NOW = 1_795_841_047_000_000_000
SCOPE = "loss_network-OCRLoss/network-OCRNet/backbone-HRNet/conv1-Conv2d"
CPU = f"""\
Gradients/Default/{SCOPE}/Grad_Conv2D/Conv2DBackpropFilter-op3;HostCpuOps;{NOW + 30 * MS},5.5,0 {NOW + 130 * MS},6.5,0
Default/{SCOPE}/Conv2D-op0;HostCpuOps;{NOW + 12 * MS},4,0 {NOW + 112 * MS},4,0
Expand/_MatMulExt/BatchMatMul-op1;HostCpuOps;{NOW + 20 * MS},2,0 {NOW + 120 * MS},2,0
Expand/_SumExt/ReduceSum-op0;HostCpuOps;{NOW + 36 * MS},1,0 {NOW + 136 * MS},1,0
Default/loss_network-OCRLoss/network-OCRNet/bn1-SyncBatchNorm/Mul-op7;HostCpuOps;{NOW + 38 * MS},1,0
Default/optimizer-Momentum/SGD-op0;HostCpuOps;{NOW + 40 * MS},0.5,0 {NOW + 140 * MS},0.5,0
Default/optimizer-Momentum/SGD-op1;HostCpuOps;{NOW + 41 * MS},0.5,0 {NOW + 80 * MS},0.5,0 {NOW + 141 * MS},0.5,0
"""
# SGD-op1 runs at 80 ms too, between the two steps
STEPS = [
    Step(4, NOW, NOW + 50 * MS, [(NOW, NOW + 10 * MS)], [(NOW + 10 * MS, FORWARD), (NOW + 40 * MS, UPDATE)]),
    Step(5, NOW + 100 * MS, NOW + 150 * MS, [(NOW + 100 * MS, NOW + 104 * MS)], [(NOW + 104 * MS, FORWARD)]),
]


@pytest.fixture
def kernels(tmp_path):
    (tmp_path / "FRAMEWORK").mkdir()
    (tmp_path / "FRAMEWORK" / "cpu_op_execute_timestamp_0.txt").write_text(CPU)
    return profiler.read_kernels(tmp_path)


def test_operators_belong_to_the_part_that_their_name_or_the_operator_before_says(kernels):
    first = [(kernel.operator, part) for kernel, part in profiler.parts_of(STEPS[0], kernels, by_time=False)]
    assert first == [
        ("Conv2D", FORWARD), ("BatchMatMul", FORWARD), ("Conv2DBackpropFilter", BACKWARD), ("ReduceSum", BACKWARD),
        ("Mul", BACKWARD), ("SGD", UPDATE), ("SGD", UPDATE),
    ]  # fmt: skip
    by_time = [part for _, part in profiler.parts_of(STEPS[0], kernels, by_time=True)]
    assert by_time == [FORWARD] * 5 + [UPDATE] * 2


def test_the_table_has_means_over_the_steps(kernels):
    found = [pair for step in STEPS for pair in profiler.parts_of(step, kernels, by_time=False)]
    rows = [line.split() for line in profiler.table(STEPS, found).splitlines() if line]
    assert rows[1:7] == [
        ["data", "7.00", "14.0"], ["forward", "6.00", "12.0"], ["backward", "7.50", "15.0"], ["update", "1.00", "2.0"],
        ["host", "28.50", "57.0"], ["step", "50.00", "100.0"],
    ]  # fmt: skip
    assert rows[8] == ["Conv2DBackpropFilter", "backward", "1", "6.00", "12.0"]
    assert rows[9] == ["Conv2D", "forward", "1", "4.00", "8.0"]
    assert ["SGD", "update", "2", "1.00", "2.0"] in rows
    assert "no operators" in profiler.table(STEPS, [])


def test_operators_of_an_ascend_are_read_as_its_documentation_describes_them(tmp_path):
    lines = ["Name,Type,Start Time(us),Duration(us)", f"Default/{SCOPE}/Conv2D-op0,Conv2D,{NOW // 1000 + 2.5},120.5"]
    (tmp_path / "kernel_details.csv").write_text("\n".join(lines))
    assert profiler.read_kernels(tmp_path) == [Kernel(NOW + 2500.0, 0.1205, f"Default/{SCOPE}/Conv2D-op0")]


@pytest.mark.parametrize("text", ["0", "-1", "101", "1.5", "yes", ""])
def test_a_bad_number_of_steps_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number of steps from 1 to 100"):
        profiler.step_count(text)
    assert profiler.step_count("100") == 100


def test_more_steps_than_the_run_has_are_refused():
    with pytest.raises(UserError, match="3 steps to warm up and 5 to profile, but 7 are left"):
        ProfiledSteps(SimpleNamespace(), Config(), 5, 7)
