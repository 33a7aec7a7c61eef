"""Inference engines for the CPU: ONNX Runtime and OpenVINO instead of MindSpore."""

import argparse
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn

from ocrnet.config import Config
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError
from ocrnet.inference.exported import classes_model, logits_model, probabilities_model
from ocrnet.inference.folding import fold_batch_norm
from ocrnet.inference.graphs import FrequentSizes
from ocrnet.inference.preprocessing import preprocess
from ocrnet.models.resize import resize
from ocrnet.runtime import device

PRECISIONS = {"mindspore": ("fp32",), "onnxruntime": ("fp32",), "openvino": ("fp32", "bf16", "int8")}
_EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino", "nncf": "openvino"}
_CALIBRATION = 64  # training images for the int8 calibration
_FIXED_SIZES = 8  # OpenVINO graphs of a fixed size: the six published ratios and two more


def import_module(name: str):
    """Imports a module of an optional package. Raises UserError with the extra that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise UserError(f"{package} is not installed: in the clone, pip install '.[{_EXTRAS[package]}]'") from None


class Engine:
    """Computes logits and classes of a network, as `outputs.NetworkOutputs`. Folds BatchNorm of the network in place.

    Args:
        name: onnxruntime or openvino.
        precision: one of PRECISIONS[name].
        calibration: returns (N, 3, H, W) float32 preprocessed training images for int8; called for each graph.

    Raises:
        UserError: a package is missing, or the engine does not support the precision.
    """

    def __init__(
        self,
        network: nn.Cell,
        name: str,
        precision: str = "fp32",
        calibration: Callable[[], Iterable[np.ndarray]] = tuple,
    ) -> None:
        if precision not in PRECISIONS[name]:
            raise UserError(f"--precision {precision}: {name} supports {', '.join(PRECISIONS[name])}")
        self.network, self.precision, self.calibration = fold_batch_norm(network), precision, calibration
        self._open = {"onnxruntime": self._open_onnxruntime, "openvino": self._open_openvino}[name]
        self._runtime = import_module(name)
        self._runners: dict[Callable, Callable[..., np.ndarray]] = {}

    def logits(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(N, 3, h, w) float32 to (N, classes, *size), as `NetworkOutputs`."""
        logits = Tensor(self._run(logits_model, images))
        return resize(logits, size, "bilinear", self.network.align_corners).asnumpy()

    def classes(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(N, 3, h, w) float32 to (N, *size) uint8, as `NetworkOutputs`."""
        if size == images.shape[2:]:
            return self._run(classes_model, images)
        return self.logits(images, size).argmax(axis=1).astype(np.uint8)

    def score(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
        """Returns `classes` of the size of labels (N, H, W), and NaN instead of the loss, which would need logits."""
        return self.classes(images, labels.shape[1:]), math.nan

    def zeros(self, shape: tuple[int, ...]) -> np.ndarray:
        """As `NetworkOutputs`."""
        return np.zeros(shape, np.float32)

    def add_probabilities(self, images: np.ndarray, total: np.ndarray) -> np.ndarray:
        """As `NetworkOutputs`, in place."""
        total += self._run(probabilities_model, images, np.empty((1, *total.shape[2:]), np.uint8))
        return total

    def _run(self, model: Callable, *inputs: np.ndarray) -> np.ndarray:
        """`model` makes the ONNX model of the network for these inputs."""
        if model not in self._runners:
            self._runners[model] = self._open(model(self.network).SerializeToString(), inputs[1:])
        return self._runners[model](*inputs)

    def _open_onnxruntime(self, model: bytes, _: Sequence[np.ndarray]) -> Callable[..., np.ndarray]:
        return open_onnxruntime(model)

    def _open_openvino(self, model: bytes, more: Sequence[np.ndarray]) -> Callable[..., np.ndarray]:
        """`more`: the inputs after the images, for the calibration."""
        core = self._runtime.Core()
        graph = core.read_model(model)
        with device.without_isa_limit():  # oneDNN reads the variable at the first of these calls
            has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            if self.precision == "int8":
                graph = quantize_openvino(graph, ((images, *more) for images in self.calibration()))
        settings = openvino_settings(
            "bf16" if self.precision == "bf16" or (self.precision == "int8" and has_bf16) else "f32"
        )
        is_frequent = FrequentSizes(first=True, most=_FIXED_SIZES)
        compiled: dict[tuple[tuple[int, ...], ...] | None, object] = {}

        def run(*inputs: np.ndarray) -> np.ndarray:
            # a graph of fixed sizes is faster than a dynamic one, but takes seconds to compile and keeps its memory
            sizes = tuple(values.shape for values in inputs)
            sizes = sizes if is_frequent(sizes) else None
            if sizes not in compiled:
                try:
                    compiled[sizes] = core.compile_model(_fixed(graph, sizes) if sizes else graph, "CPU", settings)
                except RuntimeError as error:  # bf16 is only partly available if ONEDNN_MAX_CPU_ISA hides AVX-512
                    reason = str(error).strip().splitlines()[-1]
                    fix = "use another --precision, or unset ONEDNN_MAX_CPU_ISA"
                    text = f"--precision {self.precision}: not supported on this CPU; {fix} ({reason})"
                    raise UserError(text) from None
            return compiled[sizes](inputs)[0]

        return run


def open_onnxruntime(model: bytes | Path) -> Callable[..., np.ndarray]:
    """Opens an ONNX model or file for the CPU. Returns a function from its inputs to its output.

    Raises:
        UserError: onnxruntime is not installed.
    """
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [source.name for source in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))[0]


def openvino_settings(precision: str) -> dict[str, str]:
    """`precision`, f32 or bf16, is set explicitly: on a CPU with bf16, OpenVINO uses bf16 by default."""
    return {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}


def quantize_openvino(model, calibration: Iterable[np.ndarray]):
    """Returns an OpenVINO model in int8. Raises UserError if nncf is not installed."""
    nncf, samples = import_module("nncf"), list(calibration)
    return nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))


def _fixed(model, sizes: Sequence[tuple[int, ...]]):
    """Returns a copy of an OpenVINO model with fixed input shapes, without resizes to the same size."""
    model = model.clone()
    model.reshape({source: list(size) for source, size in zip(model.inputs, sizes, strict=True)})
    for operator in model.get_ordered_ops():
        if operator.get_type_name() == "Interpolate" and operator.get_input_shape(0) == operator.get_output_shape(0):
            operator.output(0).replace(operator.input_value(0))
    return model


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add --engine and --precision to eval.py or scripts/predict.py."""
    parser.add_argument("--engine", choices=list(PRECISIONS), default="mindspore", help="inference engine")
    parser.add_argument(
        "--precision", choices=PRECISIONS["openvino"], default="fp32", help="precision of --engine openvino"
    )


def make_engine(name: str, precision: str, network: nn.Cell, config: Config) -> Engine | None:
    """Create an engine; None for MindSpore. int8 calibrates on the config's training split.

    Raises:
        UserError: see `Engine`; also if `name` is unknown, or the config asks for mixed precision.
    """
    if name not in PRECISIONS:
        raise UserError(f"engine {name}: use one of {', '.join(PRECISIONS)}")
    if name == "mindspore":
        if precision != "fp32":
            raise UserError(f"--precision {precision}: use --engine openvino; mindspore supports fp32 and --amp")
        return None
    if config.train.amp != "none":
        raise UserError(f"train.amp {config.train.amp}: only for --engine mindspore; {name} has --precision")

    def calibration() -> Iterator[np.ndarray]:
        return (preprocess(image, config.data)[None] for image in calibration_images(config))

    return Engine(network, name, precision, calibration)


def calibration_images(config: Config) -> Iterator[np.ndarray]:
    """Yields (H, W, 3) uint8 images, evenly spaced over the training split."""
    dataset = open_dataset(config.data, "train")
    for number in np.linspace(0, len(dataset) - 1, min(len(dataset), _CALIBRATION), dtype=int):
        yield dataset.read(number)[0]
