"""Other programs that run the network on a CPU: ONNX Runtime and OpenVINO, in the place of MindSpore."""

import argparse
import importlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from mindspore import Tensor, nn

from ocrnet.config import Config
from ocrnet.data.splits import open_dataset
from ocrnet.errors import UserError
from ocrnet.inference.folding import fold_batch_norm
from ocrnet.inference.graphs import FrequentSizes
from ocrnet.inference.onnx_graph import onnx_model
from ocrnet.inference.preprocessing import preprocess
from ocrnet.models.layers import resize
from ocrnet.runtime import device

PRECISIONS = {"mindspore": ("fp32",), "onnxruntime": ("fp32",), "openvino": ("fp32", "bf16", "int8")}
_EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino", "nncf": "openvino"}
_CALIBRATION = 64  # training images whose activations set the ranges of int8
_FIXED_SIZES = 8  # OpenVINO graphs of one size: the published six ratios, and two more


def _module(name: str):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{name} is not installed: pip install 'ocrnet-mindspore[{_EXTRAS[name]}]'") from None


class Engine:
    """Logits and classes of a network, as `inference.Predictor` asks for them. The network is folded in place.

    Args:
        name, precision: onnxruntime or openvino, and one that PRECISIONS has for it.
        calibration: (N, 3, H, W) float32 training images for int8, as the network reads them.

    Raises:
        UserError: a package is missing, or the engine does not have that precision.
    """

    def __init__(
        self, network: nn.Cell, name: str, precision: str = "fp32", calibration: Iterable[np.ndarray] = ()
    ) -> None:
        if precision not in PRECISIONS[name]:
            raise UserError(f"--precision {precision}: {name} has {', '.join(PRECISIONS[name])}")
        self.network, self.precision, self.calibration = fold_batch_norm(network), precision, calibration
        self._open = {"onnxruntime": self._open_onnxruntime, "openvino": self._open_openvino}[name]
        self._runtime = _module(name)
        self._runners: dict[bool, Callable[[np.ndarray], np.ndarray]] = {}

    def logits(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(N, 3, h, w) float32 to (N, classes, *size), as `inference.MainLogits`."""
        logits = Tensor(self._run(images, argmax=False))
        return resize(logits, size, "bilinear", self.network.align_corners).asnumpy()

    def classes(self, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(N, 3, h, w) float32 to (N, *size) uint8, as `inference.Classes`."""
        if size == images.shape[2:]:
            return self._run(images, argmax=True)
        return self.logits(images, size).argmax(axis=1).astype(np.uint8)

    def _run(self, images: np.ndarray, argmax: bool) -> np.ndarray:
        if argmax not in self._runners:
            model = onnx_model(self.network, (None, None, None), argmax)
            self._runners[argmax] = self._open(model.SerializeToString())
        return self._runners[argmax](images)

    def _open_onnxruntime(self, model: bytes) -> Callable[[np.ndarray], np.ndarray]:
        options = self._runtime.SessionOptions()
        options.log_severity_level = 3
        session = self._runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {"images": images})[0]

    def _open_openvino(self, model: bytes) -> Callable[[np.ndarray], np.ndarray]:
        core = self._runtime.Core()
        read = core.read_model(model)
        with device.all_instructions():  # asked at the first of these calls
            has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            if self.precision == "int8":
                nncf, samples = _module("nncf"), list(self.calibration)
                read = nncf.quantize(read, nncf.Dataset(samples), subset_size=len(samples))
        # float32 is said, too: where a CPU has bf16, OpenVINO takes it unasked
        hint = "bf16" if self.precision == "bf16" or (self.precision == "int8" and has_bf16) else "f32"
        settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        repeating = FrequentSizes(first=True, most=_FIXED_SIZES)
        compiled: dict[tuple[int, ...] | None, object] = {}

        def run(images: np.ndarray) -> np.ndarray:
            # a graph of one size is faster than one of any size, but takes seconds to compile and keeps its memory
            size = images.shape if repeating(images.shape) else None
            if size not in compiled:
                try:
                    compiled[size] = core.compile_model(_fixed(read, size) if size else read, "CPU", settings)
                except RuntimeError as error:  # half of bf16 is left where ONEDNN_MAX_CPU_ISA hides AVX-512
                    reason = str(error).strip().splitlines()[-1]
                    fix = "another --precision, or unset ONEDNN_MAX_CPU_ISA"
                    raise UserError(f"--precision {self.precision}: not on this CPU; {fix} ({reason})") from None
            return compiled[size](images)[0]

        return run


def _fixed(model, size: tuple[int, ...]):
    """A copy of an OpenVINO model for (N, 3, H, W) `size` alone, without the resizes that change nothing there."""
    model = model.clone()
    model.reshape(list(size))
    for operator in model.get_ordered_ops():
        if operator.get_type_name() == "Interpolate" and operator.get_input_shape(0) == operator.get_output_shape(0):
            operator.output(0).replace(operator.input_value(0))
    return model


def add_flags(parser: argparse.ArgumentParser) -> None:
    """--engine and --precision of eval.py and scripts/predict.py."""
    parser.add_argument("--engine", choices=list(PRECISIONS), default="mindspore", help="what runs the network")
    parser.add_argument("--precision", choices=PRECISIONS["openvino"], default="fp32", help="of --engine openvino")


def make_engine(args: argparse.Namespace, network: nn.Cell, config: Config) -> Engine | None:
    """What the flags ask for; None for MindSpore. Images for int8 come from the config's training split."""
    if args.engine == "mindspore":
        if args.precision != "fp32":
            raise UserError(f"--precision {args.precision}: --engine openvino has it, mindspore has fp32 (and --amp)")
        return None
    if config.train.amp != "none":
        raise UserError(f"train.amp {config.train.amp}: of --engine mindspore alone; {args.engine} has --precision")
    calibration = _training_images(config) if args.precision == "int8" else ()
    return Engine(network, args.engine, args.precision, calibration)


def _training_images(config: Config) -> Iterator[np.ndarray]:
    """(1, 3, H, W), as evaluation shows them to the network, evenly from the whole split."""
    dataset = open_dataset(config.data, "train")
    for number in np.linspace(0, len(dataset) - 1, min(len(dataset), _CALIBRATION), dtype=int):
        yield preprocess(dataset.read(number)[0], config.data)[None]
