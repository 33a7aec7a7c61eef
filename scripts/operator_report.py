"""Count the operators of the compiled graphs and look up which devices have them, as docs/operators.md shows it.

Compiles the training step and the inference graph on a CPU, up to the graph that MindSpore's front end hands to the
device. Nothing is trained.

    python scripts/operator_report.py                              # HRNet and both ResNets: writes docs/operators.yml
    python scripts/operator_report.py --table                      # print the table of docs/operators.yml
    python scripts/operator_report.py --backbone hrnet_w48 --amp all --variant ohem   # print the counts of one graph
"""

import argparse
import mmap
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import get_args

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ocrnet.config import Backbone, Config
from ocrnet.errors import UserError
from ocrnet.runtime import device, program

REPORT = ROOT / "docs" / "operators.yml"
VARIANTS = {
    "plain": {},
    "ohem": {"loss": {"ohem": {"threshold": 0.9, "keep": 100}}},
    "dice": {"loss": {"dice": 1.0}},
    "lovasz": {"loss": {"lovasz": 1.0}},
    "smoothing": {"loss": {"label_smoothing": 0.1}},
    "focal": {"loss": {"focal": 2.0}},
    "adamw": {"optimizer": {"kind": "adamw"}},
    "all": {"loss": {"ohem": {"threshold": 0.9, "keep": 100}, "dice": 1.0, "lovasz": 1.0, "label_smoothing": 0.1}},
}
"""Losses and optimizers; the others are the defaults."""
GRAPHS = {  # backbone: (train.amp, variant) of the training steps that are reported
    "hrnet_tiny": (
        ("none", "plain"),
        ("convolutions", "plain"),
        ("all", "plain"),
        ("none", "ohem"),
        ("none", "dice"),
        ("none", "lovasz"),
        ("none", "smoothing"),
        ("none", "focal"),
        ("none", "adamw"),
    ),
    "resnet50_d8": (("none", "plain"), ("all", "plain")),
    "resnet50_v1c_d8": (("none", "plain"), ("all", "plain")),
}
RANKS = 2
"""The step of the first backbone is also reported as one of so many ranks runs it."""
NO_LAUNCH = {
    *("Return", "MakeTuple", "TupleGetItem", "Depend", "Load", "UpdateState", "Switch", "Partial"),
    *("Reshape", "ExpandDims", "Squeeze"),  # views
    *("EqScalar", "LessScalar", "Cond", "TensorToScalar"),  # computed on the host
}
"""Nodes of the graph for which a device starts no kernel."""

DOCUMENTED_AS = {
    "BatchNormGrad": "BatchNorm",
    "BiasAddGrad": "BiasAdd",
    "Conv2DBackpropFilter": "Conv2D",
    "Conv2DBackpropInput": "Conv2D",
    "Divs": "Div",
    "MatMulExt": "MatMul",
    "MaxPoolGrad": "MaxPool",
    "Muls": "Mul",
    "ReluGrad": "ReLU",
    "RemainderTensorScalar": "FloorMod",
    "SoftmaxBackward": "Softmax",
    "SplitWithSize": "Split",
    "SumExt": "ReduceSum",
}
"""Operators without a documentation: gradients and variants. Each counts as the operator that it belongs to."""

MOVES = {"TensorMove"}
"""Copies that MindSpore inserts on every device; no operator of its documentation."""

EXPANDED = {
    "ClampScalar": ("Maximum", "Minimum"),
    "Divs": ("Div",),
    "MatMulExt": ("BatchMatMul", "BroadcastTo"),
    "Muls": ("Mul",),
    "RemainderTensorScalar": ("FloorMod",),
    "SoftmaxBackward": ("Mul", "ReduceSum", "Sub"),
    "SplitWithSize": ("Slice",),
    "SumExt": ("ReduceSum",),
}
"""Operators that MindSpore replaces by others on a device without a kernel for them, as it does on a CPU."""

GPU_KERNELS = {
    name: kernel
    for kernel, names in {
        "BroadcastOptGpuKernelMod": (
            "Add",
            "Div",
            "Equal",
            "FloorMod",
            "Greater",
            "Less",
            "LogicalAnd",
            "Maximum",
            "Minimum",
            "Mul",
            "NotEqual",
            "Pow",
            "Sub",
        ),
        "ElementwiseOpsGpuKernel": ("Exp", "IsFinite", "Neg", "Reciprocal", "Rsqrt", "Sqrt", "Square"),
        "ArrayReduceGpuKernelMod": ("ReduceAll", "ReduceMean", "ReduceSum"),
        "ActivationFwdGpuKernelMod": ("ReLU",),
        "ActivationGradGpuKernelMod": ("ReluGrad",),
        "AddNFwdGpuKernelMod": ("AddN",),
        "AssignAddFwdGpuKernelMod": ("AssignAdd",),
        "Conv2dFwdGpuKernelMod": ("Conv2D",),
        "Conv2dFilterGradGpuKernelMod": ("Conv2DBackpropFilter",),
        "Conv2dInputGradGpuKernelMod": ("Conv2DBackpropInput",),
        "MatMulGpuKernelMod": ("BatchMatMul",),
        "NcclCollectiveGpuKernel": ("AllGather", "AllReduce"),
        "MaxPool3DWithArgmaxFwdGpuKernelMod": ("MaxPool3DWithArgmax",),
        "PackFwdGpuKernelMod": ("Stack",),
        "PadFwdGpuKernelMod": ("Pad",),
        "PoolingFwdGpuKernelMod": ("MaxPool",),
        "PoolingGradGpuKernelMod": ("MaxPoolGrad",),
        "SoftmaxGpuKernelMod": ("LogSoftmax",),
        "SplitFwdGpuKernelMod": ("Split",),
        "TensorScatterArithmeticGpuKernelMod": ("TensorScatterElements",),
    }.items()
    for name in names
}
"""Kernel classes of the GPU plugin that are not named like their operator."""


def make_config(backbone: str, amp: str = "none", variant: str = "plain", **train) -> Config:
    """Returns a config with three classes and narrow heads, which compile fast and have the same operators.

    Args:
        amp: `train.amp`.
        variant: a key of VARIANTS.
        train: other keys of `train`.
    """
    return Config(
        data={"format": "list", "classes": ["a", "b", "c"]},
        model={"backbone": backbone, "head_channels": 16, "key_channels": 8, "context_channels": 16},
        train={"amp": amp, **train},
        **VARIANTS[variant],
    )


def graph_text(cell, *inputs) -> str:
    """Returns MindSpore's text form of the graph that the front end hands to the device.

    It has one line per node, `%3(name) = PrimFunc_ReLU(%2) ...`, and one with the types of its inputs and outputs. The
    front end does not depend on the device: a CPU can compile a graph in bfloat16 so far, though it cannot run it.
    """
    import mindspore as ms
    from mindspore.common.api import _cell_graph_executor

    with tempfile.TemporaryDirectory() as folder:
        os.environ["MS_DEV_DUMP_IR_PASSES"] = "validate"
        mode = ms.get_context("mode")
        ms.set_context(mode=ms.GRAPH_MODE, save_graphs=1, save_graphs_path=folder)
        try:
            _cell_graph_executor.compile(cell, *inputs, phase="export.operators", do_convert=False)
        finally:
            ms.set_context(mode=mode, save_graphs=0)
            del os.environ["MS_DEV_DUMP_IR_PASSES"]
        files = sorted(Path(folder).rglob("*validate*.ir"))
        if not files:
            raise UserError(f"{folder}: MindSpore {ms.__version__} wrote no graph named «validate»")
        return files[-1].read_text()


_NODE = re.compile(r"^ +%\d+\([^)]*\) = (?:PrimFunc_)?(\w+)\(", re.MULTILINE)


def operators(text: str) -> Counter[str]:
    """Returns {operator: number of launches} of a graph's text."""
    return Counter(name for name in _NODE.findall(text) if name not in NO_LAUNCH)


def graph(config: Config, training: bool = True, target: str = "Ascend") -> str:
    """Returns the text of the graph of a training step, or of the inference of classes, as compiled for `target`."""
    import numpy as np
    from mindspore import Tensor, float32

    from ocrnet.inference.network import Classes, MainLogits
    from ocrnet.models.ocrnet import OCRNet
    from ocrnet.models.precision import cast_network
    from ocrnet.models.sync_batch_norm import convert_sync_batch_norm
    from ocrnet.training.losses import OCRLoss
    from ocrnet.training.optimizer import make_optimizer
    from ocrnet.training.step import TrainOneStep, make_loss_scaler

    network = OCRNet(config.model, 3)
    convert_sync_batch_norm(network)
    cast_network(network, config.train.amp, config.train.amp_dtype, target)
    images = Tensor(np.zeros((1, 3, 64, 128), np.float32))
    if not training:
        return graph_text(Classes(MainLogits(network, False)).set_train(False), images, images[:, 0])
    loss_network = OCRLoss(network, config.loss, 3, False)
    step = TrainOneStep(
        loss_network, make_optimizer(config.optimizer, loss_network), make_loss_scaler(config.train.loss_scale)
    )
    labels, lr = Tensor(np.zeros((1, 64, 128), np.int32)), Tensor(0.01, float32)
    return graph_text(step.set_train(), images, labels, lr)


@cache
def _operator_modules() -> tuple[ModuleType, ...]:
    from mindspore import ops
    from mindspore.ops import auto_generate, operations

    return operations, auto_generate, ops


def _docstring(module: ModuleType, name: str) -> str:
    return (getattr(module, name, None).__doc__ or "") if hasattr(module, name) else ""


def documentation(operator: str) -> tuple[str, tuple[str, ...]]:
    """Returns the documented operator and the devices of its section «Supported Platforms»; ("", ()) without one.

    The documentation of many operators is one reference: «Refer to :func:`mindspore.ops.relu`». It is followed.
    """
    name = DOCUMENTED_AS.get(operator, operator)
    seen: list[str] = []
    while name and name not in seen:
        seen.append(name)
        text = next((doc for module in _operator_modules() if (doc := _docstring(module, name))), "")
        if match := re.search(r"Supported Platforms:\s*(.*)", text):
            return name, tuple(re.findall(r"``(\w+)``", match[1]))
        reference = re.search(r"[Rr]efer to :\w+:`mindspore\.ops\.(?:\w+\.)*(\w+)`", text)
        name = reference[1] if reference else ""
    return "", ()


@cache
def _gpu_classes() -> frozenset[str]:
    """Returns the classes of kernels in MindSpore's GPU plugin, by the type names in its binary."""
    import mindspore

    (path, *_) = sorted(Path(mindspore.__file__).parent.glob("lib/plugin/libmindspore_gpu.so.*"), reverse=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        found = re.findall(rb"\d([A-Z][A-Za-z0-9]{1,60}?GpuKernel(?:Mod)?)[EI]", binary)
    return frozenset(name.decode() for name in found)


def gpu_kernel(operator: str) -> str:
    """Returns the class of the operator's kernel in the GPU plugin, or the operators that replace it; "" for none."""
    name = GPU_KERNELS.get(operator, f"{operator}GpuKernelMod")
    if name in _gpu_classes():
        return name
    replaced = EXPANDED.get(operator, ())
    return ", ".join(replaced) if replaced and all(map(gpu_kernel, replaced)) else ""


def describe(operator: str) -> dict[str, str | list[str]]:
    """Returns what docs/operators.yml says about an operator, besides its counts."""
    name, platforms = documentation(operator)
    return {"documented_as": name, "platforms": list(platforms), "gpu": gpu_kernel(operator)}


def missing(operator: str) -> list[str]:
    """Returns the devices, Ascend or GPU, for which nothing shows that they have the operator."""
    if operator in MOVES:
        return []
    entry = describe(operator)
    return [
        name for name in ("Ascend", "GPU") if name not in entry["platforms"] or (name == "GPU" and not entry["gpu"])
    ]


def operators_of_ranks(backbone: str) -> Counter[str]:
    """Returns {operator: number of launches} of the plain training step of one of RANKS ranks, which run this script.

    Raises:
        UserError: the ranks failed; the message has their output.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("msrun")), f"--worker_num={RANKS}", f"--local_worker_num={RANKS}"]
        command += [f"--master_port={port}", "--join=True", f"--log_dir={folder}", __file__, "--backbone", backbone]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # msrun starts `python`
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
        log = Path(folder) / "worker_0.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else done.stdout
    if done.returncode:
        raise UserError(f"{RANKS} ranks could not compile the training step:\n{text}{done.stderr}")
    return Counter({name: int(count) for count, name in re.findall(r"^ *(\d+)  ([A-Z]\w+)", text, re.MULTILINE)})


def measure() -> dict:
    """Compiles all graphs of GRAPHS and returns what docs/operators.yml contains."""
    launches, training, inference = {}, Counter(), Counter()
    for backbone, steps in GRAPHS.items():
        counts = operators(graph(make_config(backbone), training=False))
        inference |= counts
        launches[backbone] = {"inference": counts.total()}
        print(f"{backbone}, inference: {counts.total()}", flush=True)
        for amp, variant in steps:
            counts = operators(graph(make_config(backbone, amp, variant)))
            training |= counts
            launches[backbone][f"{amp}, {variant}"] = counts.total()
            print(f"{backbone}, training step, {amp}, {variant}: {counts.total()}", flush=True)
    backbone = next(iter(GRAPHS))
    counts = operators_of_ranks(backbone)
    training |= counts
    launches[backbone][f"none, plain, {RANKS} ranks"] = counts.total()
    print(f"{backbone}, training step, {RANKS} ranks: {counts.total()}", flush=True)
    names = sorted(training | inference, key=lambda name: (-training[name], name))
    return {
        "launches": launches,
        "operators": {
            name: {"training": training[name], "inference": inference[name], **describe(name)} for name in names
        },
    }


HEADS = {
    "en": ("operator", "training step", "inference", "documented as", "documented devices", "GPU kernel"),
    "zh": ("算子", "训练步", "推理", "文档中的算子", "文档中的设备", "GPU 算子实现"),
}


def table(language: str) -> str:
    """Returns the operators of docs/operators.yml as a Markdown table."""
    rows = [HEADS[language], ("---", "---:", "---:", "---", "---", "---")]
    for name, entry in yaml.safe_load(REPORT.read_text(encoding="utf-8"))["operators"].items():
        counts = (str(entry["training"]), str(entry["inference"]))
        rows.append((f"`{name}`", *counts, entry["documented_as"], ", ".join(entry["platforms"]), entry["gpu"]))
    return "\n".join(f"| {' | '.join(cell or '-' for cell in row)} |" for row in rows)


def launches(language: str) -> str:
    """Returns the number of launches of each graph of docs/operators.yml as a Markdown table."""
    head = {"en": ("backbone", "graph", "launches"), "zh": ("骨干网络", "图", "启动次数")}[language]
    words = {"en": ("inference", "training"), "zh": ("推理", "训练")}[language]
    rows = [head, ("---", "---", "---:")]
    for backbone, graphs in yaml.safe_load(REPORT.read_text(encoding="utf-8"))["launches"].items():
        for name, count in graphs.items():
            rows.append((backbone, words[0] if name == "inference" else f"{words[1]}: {name}", str(count)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the operators of compiled graphs and look up their devices.")
    parser.add_argument("--table", choices=("en", "zh"), help="print the table of docs/operators.yml in this language")
    parser.add_argument("--backbone", choices=get_args(Backbone), help="print the counts of this backbone's step only")
    parser.add_argument("--amp", choices=("none", "convolutions", "all"), default="none")
    parser.add_argument("--variant", choices=tuple(VARIANTS), default="plain", help="loss or optimizer")
    args = parser.parse_args()
    if args.table:
        print(table(args.table))
        return
    device.init("CPU", 0, 0)
    if args.backbone:
        counts = operators(graph(make_config(args.backbone, args.amp, args.variant)))
        for name, count in counts.most_common():
            print(f"{count:5}  {name}" + (f"  not on {', '.join(missing(name))}" if missing(name) else ""))
        print(f"{counts.total():5}  launches")
        return
    report = measure()
    REPORT.write_text(yaml.safe_dump(report, sort_keys=False, width=120), encoding="utf-8")
    if absent := {name: missing(name) for name in report["operators"] if missing(name)}:
        raise UserError(f"{REPORT}: operators that a device lacks", [f"{k}: {', '.join(v)}" for k, v in absent.items()])


if __name__ == "__main__":
    sys.exit(program.run(main))
