"""Computes reference outputs with PaddleSeg's OCRNet, as peer_logits.py does with the publishers that use PyTorch.

    peer/bin/pip install paddlepaddle==3.3.1 numpy && peer/bin/pip install --no-deps paddleseg==2.8.0
    peer/bin/python tests/paddle_logits.py paddleseg_w18 OUT.npz 125x251 33x33

compare_with_peers.py calls it. Besides the results of peer_logits.py for every size, OUT.npz has `error`: the largest
difference of float32 and float64 logits, main and auxiliary, for the input of the golden files. With --save, the
weights are also written by paddle.save.
"""

import argparse
import importlib
import importlib.metadata
import sys
import types
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from known_weights import draw, formula, odd_input

Row = tuple[str, str, str, float]
"""(name, shape, kind, scale) of a tensor, for `known_weights.formula`."""
NORM = {"weight": "bn_weight", "bias": "bn_bias", "_mean": "bn_mean", "_variance": "bn_var"}


def import_ocrnet() -> tuple[types.ModuleType, types.ModuleType]:
    """Returns PaddleSeg's modules with OCRNet and HRNet, imported without the many others that its packages import."""
    root = Path(str(importlib.metadata.distribution("paddleseg").locate_file("paddleseg")))

    def package(name: str, *content: str) -> types.ModuleType:
        """Makes an empty package in place of `name`, with what the named modules in it define."""
        made = sys.modules[name] = types.ModuleType(name)
        made.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, made)
        for module in content:
            vars(made).update(vars(importlib.import_module(f"{name}.{module}")))
        return made

    package("paddleseg")
    package("paddleseg.utils").utils = sys.modules["paddleseg.utils.utils"] = types.ModuleType("paddleseg.utils.utils")
    cvlibs = package("paddleseg.cvlibs", "manager")
    cvlibs.manager = sys.modules["paddleseg.cvlibs.manager"]
    cvlibs.param_init = importlib.import_module("paddleseg.cvlibs.param_init")
    package("paddleseg.models")
    package("paddleseg.models.layers", "wrap_functions", "activation", "layer_libs")
    package("paddleseg.models.backbones")
    ocrnet = importlib.import_module("paddleseg.models.ocrnet")
    return ocrnet, importlib.import_module("paddleseg.models.backbones.hrnet")


def build(width: str) -> nn.Layer:
    ocrnet, hrnet = import_ocrnet()
    model = ocrnet.OCRNet(19, getattr(hrnet, f"HRNet_W{width}")(), [0])
    model.eval()
    return model


def logits(model: nn.Layer, images: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Returns (main, auxiliary) at the network's resolution."""
    main, auxiliary = model.head(model.backbone(paddle.to_tensor(images)))
    return main, auxiliary


def listing(model: nn.Layer, scales: dict[str, float]) -> list[Row]:
    modules, rows = dict(model.named_sublayers()), []
    for name, tensor in model.state_dict().items():
        module, _, part = name.rpartition(".")
        convolution = isinstance(modules[module], nn.Conv2D)
        kind = ("conv" if part == "weight" else "conv_bias") if convolution else NORM[part]
        rows.append((name, ",".join(map(str, tensor.shape)), kind, scales.get(name, 1.0)))
    return rows


def fill(model: nn.Layer, rows: list[Row]) -> None:
    kind = paddle.get_default_dtype()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    values = {name: formula(name, shapes[name], part, scale).astype(kind) for name, _, part, scale in rows}
    model.set_state_dict(values)


def choose_scales(model: nn.Layer) -> dict[str, float]:
    """Returns scales for a standard deviation of 1 in the outputs of convolutions and 3 in the logits."""
    scales = {}

    def rescale(name: str):
        def hook(module: nn.Conv2D, inputs, output: paddle.Tensor) -> paddle.Tensor:
            target = 3 if module.weight.shape[0] == 19 else 1
            scales[f"{name}.weight"] = float(f"{target / float(output.std()):.4g}")
            return output * scales[f"{name}.weight"]

        return hook

    convolutions = [(name, part) for name, part in model.named_sublayers() if isinstance(part, nn.Conv2D)]
    hooks = [part.register_forward_post_hook(rescale(name)) for name, part in convolutions]
    logits(model, draw("scales").standard_normal((1, 3, 128, 128), dtype=np.float32))
    for hook in hooks:
        hook.remove()
    return scales


@paddle.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["paddleseg_w18", "paddleseg_w48"])
    parser.add_argument("output", type=Path)
    parser.add_argument("sizes", nargs="+", metavar="HxW")
    parser.add_argument("--golden", type=Path, help="read the scales of the convolutions from this file")
    parser.add_argument("--save", type=Path, metavar="FILE.pdparams", help="write the weights")
    args = parser.parse_args()
    width = args.model.rpartition("_w")[2]
    model = build(width)
    if args.golden:
        data = np.load(args.golden)
        scales = dict(zip(str(data["tensor_names"]).split("\n"), map(float, data["scales"]), strict=True))
    else:
        fill(model, listing(model, {}))
        scales = choose_scales(model)
    rows = listing(model, scales)
    fill(model, rows)
    if args.save:
        paddle.save(model.state_dict(), str(args.save))
    names, shapes, kinds, factors = zip(*rows, strict=True)
    results = {
        "tensor_names": "\n".join(names),
        "shapes": "\n".join(shapes),
        "kinds": "\n".join(kinds),
        "scales": factors,
    }
    for text in args.sizes:
        size = tuple(map(int, text.split("x")))
        images = odd_input(size)
        results[f"{text}/main"], results[f"{text}/auxiliary"] = (part.numpy() for part in logits(model, images))
        results[f"{text}/classes"] = model(paddle.to_tensor(images))[0].argmax(1).numpy().astype(np.uint8)

    images = draw("input").standard_normal((1, 3, 128, 256), dtype=np.float32)
    single = [part.numpy() for part in logits(model, images)]
    final = F.interpolate(paddle.to_tensor(single[0]), images.shape[2:], mode="bilinear", align_corners=False)
    paddle.set_default_dtype("float64")
    model = build(width)
    fill(model, rows)
    double = [part.numpy() for part in logits(model, images.astype(np.float64))]
    results["error"] = [np.abs(part - exact).max() for part, exact in zip(single, double, strict=True)]
    results["golden_main"], results["golden_auxiliary"], results["golden_final"] = *single, final.numpy()
    np.savez_compressed(args.output, **results)


if __name__ == "__main__":
    main()
