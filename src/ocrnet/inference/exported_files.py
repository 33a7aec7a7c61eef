"""Writes a network as an ONNX, OpenVINO or MindIR file, in float32, float16 or int8, and opens such a file."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ocrnet.errors import write_text
from ocrnet.inference.engines import import_module, open_onnxruntime, openvino_settings, quantize_openvino
from ocrnet.runtime import device

PRECISIONS = {"onnx": ("fp32", "fp16", "int8"), "openvino": ("fp32", "fp16", "int8"), "mindir": ("fp32",)}
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "mindir": ".mindir"}

Run = Callable[[np.ndarray], np.ndarray]


def write_onnx(
    model, path: Path, precision: str, calibration: Iterable[np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write an onnx.ModelProto, with the metadata in its `metadata_props`.

    Args:
        precision: fp16: weights and operators from the first convolution on in float16; int8: convolutions with int8
            weights and uint8 inputs, as QuantizeLinear and DequantizeLinear.
        calibration: inputs for int8.

    Raises:
        UserError: onnxruntime is not installed.
    """
    from onnx import helper

    if precision == "fp16":
        float16 = import_module("onnxruntime.transformers.float16")
        model = float16.convert_float_to_float16(model, keep_io_types=True, node_block_list=_before_convolutions(model))
    if precision == "int8":
        model = _quantize_onnx(model, calibration)
    helper.set_model_props(model, dict(metadata))
    path.write_bytes(model.SerializeToString())


def _before_convolutions(model) -> list[str]:
    """Returns the names of the nodes before the first convolution: values up to 255 need more than float16."""
    names = [node.name for node in model.graph.node]
    return names[: next(index for index, node in enumerate(model.graph.node) if node.op_type == "Conv")]


def _quantize_onnx(model, calibration: Iterable[np.ndarray]):
    import onnx

    quantization = import_module("onnxruntime.quantization")
    name = model.graph.input[0].name

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.images = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.images, None)
            return None if image is None else {name: image}

    with TemporaryDirectory() as folder:
        float32, int8 = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        float32.write_bytes(model.SerializeToString())
        quantization.quantize_static(
            float32, int8, Reader(), op_types_to_quantize=["Conv"], per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
        return onnx.load(int8)


def write_openvino(
    model, path: Path, precision: str, calibration: Iterable[np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write an onnx.ModelProto as OpenVINO's .xml and .bin, with the metadata in `rt_info`, section `ocrnet`.

    Args:
        precision: fp16: weights in float16; int8: weights and activations, by nncf.
        calibration: inputs for int8.

    Raises:
        UserError: openvino or nncf is not installed.
    """
    openvino = import_module("openvino")
    graph = openvino.Core().read_model(model.SerializeToString())
    if precision == "int8":
        graph = quantize_openvino(graph, calibration)
    for key, value in metadata.items():
        graph.set_rt_info(value, ["ocrnet", key])
    openvino.save_model(graph, str(path), compress_to_fp16=precision == "fp16")


def write_mindir(
    cell: nn.Cell, shape: Sequence[int | None], dtype: ms.Type, path: Path, metadata: Mapping[str, str]
) -> None:
    """Write a cell as MindIR, and the metadata, for which MindIR has no place, as PATH.json."""
    image = Tensor(shape=shape, dtype=dtype) if None in shape else ops.zeros(tuple(shape), dtype)
    ms.export(cell, image, file_name=str(path), file_format="MINDIR")
    write_text(path.with_name(f"{path.name}.json"), json.dumps(dict(metadata), indent=1, ensure_ascii=False) + "\n")


def open_file(path: Path, kind: str) -> Run:
    """Opens a file for the CPU. Returns a function from its input to its output.

    Raises:
        UserError: a package is missing.
    """
    if kind == "onnx":
        return open_onnxruntime(path)
    if kind == "openvino":
        core = import_module("openvino").Core()
        with device.without_isa_limit():
            compiled = core.compile_model(core.read_model(path), "CPU", openvino_settings("f32"))
        return lambda image: compiled(image)[0]
    cell = nn.GraphCell(ms.load(str(path)))

    def run(image: np.ndarray) -> np.ndarray:
        with device.execution_mode(ms.GRAPH_MODE):
            return cell(Tensor(image)).asnumpy()

    return run
