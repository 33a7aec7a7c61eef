# ruff: noqa: E402
"""Computes reference outputs with a publisher's OCRNet; runs in the peer's environment (requirements-peer.txt).

    peer/bin/python tests/peer_logits.py mmseg_hr18s OUT.npz 125x251 33x33

compare_with_peers.py calls it. mmsegmentation and sssegmentation are installed packages; the environment variable
HRNET_OCR is the path of a clone of HRNet-OCR. For every size, OUT.npz has the logits of both heads at the network's
resolution, `main` and `auxiliary`, and the class map at image size, `classes`; for mmsegmentation also the class maps
with multi-scale and flip, `tta`, and with a sliding window, `slide`.
"""

import argparse
import importlib
import os
import sys
import tempfile
import types
import warnings
from pathlib import Path
from types import SimpleNamespace

warnings.filterwarnings("ignore")
sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from absent_module import Absent
from known_weights import draw, formula, odd_image, odd_input

HRNETS = {"hr18s": "w18_small", "w18s": "w18_small", "hr18": "w18", "w18": "w18", "hr48": "w48", "w48": "w48"}
Size = tuple[int, int]
"""(height, width)"""


class Mmseg:
    """mmsegmentation 1.2.2."""

    def __init__(self, model: str) -> None:
        sys.modules["mmcv.ops"] = Absent("mmcv.ops")
        import mmseg
        from mmengine.config import Config
        from mmengine.registry import init_default_scope
        from mmseg.registry import MODELS

        init_default_scope("mmseg")
        folder = Path(mmseg.__file__).parent / ".mim" / "configs"
        self.config = Config.fromfile(folder / "ocrnet" / "ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py")
        name = (
            f"ocrnet/ocrnet_{model}_4xb2-40k_cityscapes-512x1024.py"
            if model in HRNETS
            else "_base_/models/ocrnet_r50-d8.py"
        )
        config = Config.fromfile(folder / name).model
        config.data_preprocessor = self.config.model.data_preprocessor
        config.pretrained = None
        _without_sync(config)
        self.model = MODELS.build(config).eval()

    def logits(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.model.extract_feat(images)
        auxiliary = self.model.decode_head[0](features)
        return self.model.decode_head[1](features, auxiliary), auxiliary

    def classes(self, images: torch.Tensor, size: Size) -> torch.Tensor:
        return self.model.encode_decode(images, [dict(img_shape=size)]).argmax(1)

    def slide(self, images: torch.Tensor, size: Size) -> torch.Tensor:
        self.model.test_cfg.update(mode="slide", crop_size=(64, 96), stride=(42, 63))
        logits = self.model.inference(images, [dict(img_shape=size, ori_shape=size)])
        self.model.test_cfg.update(mode="whole")
        return logits.argmax(1)

    def tta(self, image: np.ndarray) -> torch.Tensor:
        """The published pipeline: ratios 0.5 to 1.75, each also mirrored, mean of softmax."""
        from mmcv.transforms import Compose
        from mmengine.dataset import pseudo_collate
        from mmseg.models import SegTTAModel

        steps = self.config.tta_pipeline
        steps[1]["transforms"] = [step for step in steps[1]["transforms"] if step[0]["type"] != "LoadAnnotations"]
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/image.png"
            cv2.imwrite(path, image[..., ::-1])
            samples = pseudo_collate([Compose(steps)(dict(img_path=path))])
        return SegTTAModel(self.model).test_step(samples)[0].pred_sem_seg.data


class Ssseg:
    """sssegmentation 1.7.0; before that (`ssseg16`), the stem of HRNet has no ReLU between its convolutions."""

    def __init__(self, model: str) -> None:
        for name in (
            "torchvision",
            "torchvision.ops",
            "torchvision.ops.boxes",
            "torchvision.transforms",
            "torchvision.transforms.functional",
            "chainercv",
            "chainercv.evaluations",
            "cityscapesscripts",
            "pycocotools",
            "pycocotools.coco",
            "pycocotools.mask",
            "pandas",
            "dill",
            "tqdm",
            "scipy",
            "scipy.io",
        ):
            try:
                importlib.import_module(name)
            except ImportError:
                sys.modules[name] = Absent(name)
        from ssseg.modules.models.backbones.hrnet import HRModule
        from ssseg.modules.models.segmentors.ocrnet.ocrnet import OCRNet

        HRModule.use_checkpoint = False  # 1.7.0 reads it before it is set
        if model in HRNETS:
            arch = f"hrnetv2_{HRNETS[model]}"
            backbone = {"type": "HRNet", "arch": arch, "selected_indices": (0, 0)}
            channels = (15 * int(HRNETS[model][1:3]),) * 2
        else:
            arch = "resnet50conv3x3stem"
            backbone = {
                "type": "ResNet",
                "depth": 50,
                "outstride": 8,
                "use_conv3x3_stem": True,
                "selected_indices": (2, 3),
            }
            channels = (1024, 2048)
        head = {"in_channels": channels[1], "feats_channels": 512, "transform_channels": 256, "scale": 1, "dropout": 0}
        config = {
            "num_classes": 19, "align_corners": False, "norm_cfg": {"type": "BatchNorm2d"},
            "act_cfg": {"type": "ReLU", "inplace": True}, "head": head,
            "backbone": {**backbone, "structure_type": arch, "pretrained": False},
            "auxiliary": {"in_channels": channels[0], "out_channels": 512, "dropout": 0},
        }  # fmt: skip
        self.model = OCRNet(config, mode="TEST").eval()

    def logits(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept = []
        hook = self.model.auxiliary_decoder.register_forward_hook(lambda module, inputs, output: kept.append(output))
        main = self.model(SimpleNamespace(images=images)).seg_logits
        hook.remove()
        return main, kept[0]

    def classes(self, images: torch.Tensor, size: Size) -> torch.Tensor:
        return F.interpolate(self.logits(images)[0], size=size, mode="bilinear", align_corners=False).argmax(1)


class HRNetOCR:
    """https://github.com/HRNet/HRNet-Semantic-Segmentation, branch HRNet-OCR."""

    def __init__(self, model: str) -> None:
        sys.path.insert(0, os.path.join(os.environ["HRNET_OCR"], "lib", "models"))
        np.int = int  # removed in NumPy 1.24
        bn = types.ModuleType("hrnet_ocr.bn_helper")
        bn.BatchNorm2d = bn.BatchNorm2d_class = nn.BatchNorm2d
        bn.relu_inplace = True
        package = types.ModuleType("hrnet_ocr")
        package.__path__ = [sys.path[0]]
        sys.modules |= {"hrnet_ocr": package, "hrnet_ocr.bn_helper": bn}
        network = importlib.import_module("hrnet_ocr.seg_hrnet_ocr")
        width = int(HRNETS[model][1:3])
        blocks = {
            "STAGE1": (1, 1, "BOTTLENECK"),
            "STAGE2": (1, 2, "BASIC"),
            "STAGE3": (4, 3, "BASIC"),
            "STAGE4": (3, 4, "BASIC"),
        }
        extra = {
            stage: {"NUM_MODULES": modules, "NUM_BRANCHES": branches, "BLOCK": block, "NUM_BLOCKS": [4] * branches,
                    "NUM_CHANNELS": [64] if branches == 1 else [width * 2**j for j in range(branches)],
                    "FUSE_METHOD": "SUM"}
            for stage, (modules, branches, block) in blocks.items()
        }  # fmt: skip
        ocr = SimpleNamespace(MID_CHANNELS=512, KEY_CHANNELS=256)
        model = SimpleNamespace(EXTRA=extra, ALIGN_CORNERS=True, OCR=ocr)
        self.model = network.HighResolutionNet(
            SimpleNamespace(MODEL=model, DATASET=SimpleNamespace(NUM_CLASSES=19))
        ).eval()

    def logits(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        auxiliary, main = self.model(images)
        return main, auxiliary

    def classes(self, images: torch.Tensor, size: Size) -> torch.Tensor:
        return F.interpolate(self.logits(images)[0], size=size, mode="bilinear", align_corners=True).argmax(1)


PEERS = {"mmseg": Mmseg, "ssseg": Ssseg, "ssseg16": Ssseg, "hrnetocr": HRNetOCR}


def _without_sync(tree) -> None:
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict) and value.get("type") == "SyncBN":
            value["type"] = "BN"
        if isinstance(value, dict | list | tuple):
            _without_sync(value)


def listing(model: nn.Module, scales: dict[str, float]) -> list[tuple[str, str, str, float]]:
    """Returns (name, shape, kind, scale) of every tensor, for `known_weights.formula`."""
    norm = {"weight": "bn_weight", "bias": "bn_bias", "running_mean": "bn_mean", "running_var": "bn_var"}
    modules, rows = dict(model.named_modules()), []
    for name, tensor in model.state_dict().items():
        module, _, part = name.rpartition(".")
        if isinstance(modules[module], nn.Conv2d):
            kind = "conv" if part == "weight" else "conv_bias"
        else:
            kind = norm.get(part, "count")
        rows.append((name, ",".join(map(str, tensor.shape)), kind, scales.get(name, 1.0)))
    return rows


def fill(model: nn.Module, rows: list[tuple[str, str, str, float]]) -> None:
    state = model.state_dict()
    model.load_state_dict(
        {name: torch.from_numpy(formula(name, tuple(state[name].shape), kind, scale)) for name, _, kind, scale in rows}
    )


def choose_scales(peer, model: nn.Module) -> dict[str, float]:
    """Returns scales for a standard deviation of 1 in the outputs of convolutions and 3 in the logits."""
    scales = {}

    def rescale(name: str, classes: bool):
        def hook(module: nn.Conv2d, inputs, output: torch.Tensor) -> torch.Tensor:
            scales[f"{name}.weight"] = float(f"{(3 if classes else 1) / output.std().item():.4g}")
            return output * scales[f"{name}.weight"]

        return hook

    hooks = [
        module.register_forward_hook(rescale(name, module.out_channels == 19))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    peer.logits(torch.from_numpy(draw("scales").standard_normal((1, 3, 128, 128), dtype=np.float32)))
    for hook in hooks:
        hook.remove()
    return scales


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="PEER_BACKBONE, such as mmseg_hr18s")
    parser.add_argument("output", type=Path)
    parser.add_argument("sizes", nargs="+", metavar="HxW")
    parser.add_argument("--golden", type=Path, help="read the scales of the convolutions from this file")
    args = parser.parse_args()
    source, _, backbone = args.model.partition("_")
    peer = PEERS[source](backbone.removesuffix("-d8"))
    if args.golden:
        data = np.load(args.golden)
        scales = dict(zip(str(data["tensor_names"]).split("\n"), map(float, data["scales"]), strict=True))
    else:
        fill(peer.model, listing(peer.model, {}))
        scales = choose_scales(peer, peer.model)
    rows = listing(peer.model, scales)
    fill(peer.model, rows)
    names, shapes, kinds, factors = zip(*rows, strict=True)
    results = {
        "tensor_names": "\n".join(names),
        "shapes": "\n".join(shapes),
        "kinds": "\n".join(kinds),
        "scales": factors,
    }
    for text in args.sizes:
        height, width = size = tuple(map(int, text.split("x")))
        images = torch.from_numpy(odd_input(size))
        results[f"{text}/main"], results[f"{text}/auxiliary"] = (part.numpy() for part in peer.logits(images))
        results[f"{text}/classes"] = peer.classes(images, size).numpy().astype(np.uint8)
        if source == "mmseg" and height * width < 2**17:
            results[f"{text}/slide"] = peer.slide(images, size).numpy().astype(np.uint8)
            results[f"{text}/tta"] = peer.tta(odd_image(size)).numpy().astype(np.uint8)
    np.savez_compressed(args.output, **results)


if __name__ == "__main__":
    main()
