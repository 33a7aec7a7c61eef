"""Networks, generated weights and reference outputs (golden files) of the peers, the publishers' implementations.

A golden file lists a peer's tensors: name, shape, kind and, for a convolution, a scale. The values are generated from
the name (known_weights.py), so no weights are stored.
"""

import json
import re
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn

from known_weights import draw, formula
from ocrnet.config import ModelConfig
from ocrnet.weights.published import Conversion, convert

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "golden"
DATA = ROOT / "tests" / "data"

SOURCES = {
    "mmseg": "mmseg",
    "ssseg": "ssseg",
    "ssseg16": "ssseg",
    "hrnetocr": "hrnet-ocr",
    "mslab": "mindspore-lab",
    "paddleseg": "paddleseg",
}
_BACKBONES = (
    (r"18s$", "hrnet_w18_small"),
    (r"18$", "hrnet_w18"),
    (r"32$", "hrnet_w32"),
    (r"48$", "hrnet_w48"),
    (r"r50", "resnet50_v1c_d8"),
    (r"r101", "resnet101_v1c_d8"),
)


def model_config(stem: str) -> tuple[str, ModelConfig]:
    """Returns (source, model config) of a golden file, e.g. mmseg_hr18s or ssseg_r50."""
    peer = stem.split("_")[0]
    backbone = next(name for pattern, name in _BACKBONES if re.search(pattern, stem))
    options = {
        "mmseg": dict(dropout=0.1, aux_dropout=0.1, aux_channels=256, aux_kernel=3)
        if backbone.startswith("resnet")
        else {},
        "ssseg": dict(aux_channels=512, aux_kernel=3, context_kernel=3),
        "ssseg16": dict(aux_channels=512, aux_kernel=3, context_kernel=3, stem_relu=False),
        "hrnetocr": dict(align_corners=True, conv_bias=True, dropout=0.05),
        "paddleseg": dict(
            fuse="bilinear_once", stride_padding="same", conv_bias=True, attention_bias=True, dropout=0.1
        ),
        "mslab": dict(fuse="nearest", context_channels=256, context_kernel=3, head_norm_eps=1e-4),
    }[peer]
    return SOURCES[peer], ModelConfig(backbone=backbone, **options)


def golden_input() -> np.ndarray:
    """Returns (1, 3, 128, 256) float32."""
    return draw("input").standard_normal((1, 3, 128, 256), dtype=np.float32)


def golden_batch() -> tuple[np.ndarray, np.ndarray]:
    """Returns images (2, 3, 128, 256) float32, labels (2, 128, 256) int32 in 8 x 8 squares, a tenth of them ignored."""
    rng = draw("train")
    images = rng.standard_normal((2, 3, 128, 256), dtype=np.float32)
    labels = rng.integers(0, 19, (2, 16, 32)).repeat(8, 1).repeat(8, 2)
    labels[rng.random((2, 16, 32)).repeat(8, 1).repeat(8, 2) < 0.1] = 255
    return images, labels.astype(np.int32)


def converted(network: nn.Cell, source: str, tensors: dict[str, np.ndarray]) -> Conversion:
    """Load a peer's weights into `network` as scripts/convert_weights.py does."""
    parameters = network.parameters_dict()
    conversion = convert(source, tensors, {name: tuple(value.shape) for name, value in parameters.items()})
    assert conversion.problems == []
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(conversion.weights[name]))
    return conversion


def tensors_of(listing: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a peer's weights with the peer's names, from `tensor_names`, `shapes`, `kinds` (lines) and `scales`."""
    columns = [str(listing[key]).split("\n") for key in ("tensor_names", "shapes", "kinds")]
    return {
        name: formula(name, tuple(map(int, shape.split(","))) if shape else (), kind, float(scale))
        for name, shape, kind, scale in zip(*columns, listing["scales"], strict=True)
    }


PLACES, CLASS_PLACES = 24, 512
"""Number of sampled pixels of a peer's logits and of its class maps per size."""


def at_places(size: str, values: np.ndarray, count: int) -> np.ndarray:
    """Returns `count` pixels of (..., H, W) values, selected by their shape and the image size: (..., count)."""
    height, width = values.shape[-2:]
    places = draw(f"places {size} {height}x{width}").integers(0, height * width, count)
    return values.reshape(*values.shape[:-2], -1)[..., places]


def odd_figures(results: dict[str, np.ndarray], sizes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Returns the sampled pixels of peer_logits.py's results: {HxW/main, auxiliary, classes, slide or tta: values}."""
    figures = {}
    for key, values in results.items():
        size, _, part = key.partition("/")
        if part and size in sizes:
            figures[key] = at_places(size, values, PLACES if part in ("main", "auxiliary") else CLASS_PLACES)
    return figures


class Golden:
    """A peer's tensors and results, from a small file of this repository or a complete one outside it."""

    def __init__(self, path: Path) -> None:
        self.stem = path.stem.removeprefix("golden_")
        self.source, self.model = model_config(self.stem)
        if path.suffix == ".npz":
            data = np.load(path)
            self._tensors = lambda: tensors_of(data)
            self.rows = list(data["rows"])
            self.main, self.auxiliary, self.auxiliary_rows = data["main"], data["auxiliary"], self.rows[1:2]
            self.error = data["error"]
        else:
            info, data = json.loads(path.read_text()), np.load(path.with_suffix(".npz"))
            self._tensors = lambda: {
                name: formula(name, tuple(entry["shape"]), entry["kind"], entry.get("scale", 1.0))
                for name, entry in info["tensors"].items()
            }
            self.main, self.auxiliary = data["ocr"], data["aux"]
            self.rows = self.auxiliary_rows = list(range(self.main.shape[2]))
            error = info["info"].get("fp32_vs_fp64_max_abs", {"ocr": 2e-4, "aux": 2e-4})
            self.error = np.array([error["ocr"], error["aux"]])
        self.final_argmax = data.get("final_argmax")
        self.final_row64 = data.get("final_row64")

    def tensors(self) -> dict[str, np.ndarray]:
        """Returns the peer's weights with the peer's names."""
        return self._tensors()
