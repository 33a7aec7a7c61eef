"""Print the model zoo as a Markdown table, as docs/model_zoo.md shows it.

Scores, devices and steps are those that each config's head comment quotes. Parameters, FLOPs and addresses of weights
are in src/ocrnet/zoo/models.yml.

    python scripts/model_zoo.py
    python scripts/model_zoo.py --language zh
    python scripts/model_zoo.py --measure    # count parameters and FLOPs again; write them and the scores to models.yml
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ocrnet.config import Config, load_config
from ocrnet.runtime import program
from ocrnet.zoo.published import models, publisher_of

CONFIGS, ZOO = ROOT / "config" / "ocrnet", ROOT / "src" / "ocrnet" / "zoo" / "models.yml"
# The publishers' own logits are compared in tests/weights/test_published.py for these; the others are the same code
# with another width or depth. mmsegmentation's ResNet is compared at a depth of 50.
COMPARED = {
    ("mmsegmentation", "hrnet_w18_small"),
    ("sssegmentation", "hrnet_w18_small"),
    ("HRNet-OCR", "hrnet_w48"),
    ("mindspore-lab", "hrnet_w32"),
    ("PaddleSeg", "hrnet_w18"),
}
DATA_SETS = {
    "cityscapes": "Cityscapes",
    "ade20k": "ADE20K",
    "voc2012": "VOC 2012 + SBD",
    "pascal_context_59": "PASCAL-Context, 59",
    "pascal_context_60": "PASCAL-Context, 60",
    "coco_stuff_10k": "COCO-Stuff 10k",
    "coco_stuff_164k": "COCO-Stuff 164k",
    "lip": "LIP",
    "list": "daodixian_seg",
}
HEADS = {
    "en": "name | model | data set | crop | params, M | GFLOPs | devices x batch | steps | mIoU, % | "
    "mIoU ms + flip, % | published by | weights | parity",
    "zh": "名字 | 模型 | 数据集 | 裁剪 | 参数量(M) | GFLOPs | 设备数 x 批大小 | 步数 | mIoU(%) | "
    "mIoU 多尺度 + 翻转(%) | 发布方 | 权重 | 一致性",
}
WORDS = {
    "en": {"epochs": "epochs", "flip": "flip", "test": "test set", "file": "file", "compared": "compared"},
    "zh": {"epochs": "轮", "flip": "翻转", "test": "测试集", "file": "下载", "compared": "已比对"},
}


@dataclass(frozen=True)
class Entry:
    """A config of the zoo and what its head comment quotes; "" for what was not published."""

    path: Path
    config: Config
    publisher: str
    devices: int
    steps: int | None
    miou: str
    miou_flip: str
    """With the mirrored image, at one scale."""
    miou_multi_scale: str
    """With several scales and the mirrored image."""
    miou_test: str
    """With both, on the test set."""

    @property
    def published(self) -> bool:
        """Whether its publisher gave any score."""
        return bool(self.miou or self.miou_flip or self.miou_multi_scale or self.miou_test)


def entries() -> list[Entry]:
    """All configs of the zoo, by data set and model."""
    found = []
    for path in sorted(CONFIGS.glob("*.yml")):
        if publisher := publisher_of(path.stem):
            found.append(_entry(path, publisher.name))
    order = list(DATA_SETS)

    def place(entry: Entry) -> tuple:
        return order.index(entry.config.data.format), entry.config.model.backbone, entry.publisher, entry.steps or 0

    return sorted(found, key=place)


def _entry(path: Path, publisher: str) -> Entry:
    config = load_config(path)
    head = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    steps = _first(r"([\d,]+) steps", head).replace(",", "")
    return Entry(
        path,
        config,
        publisher,
        devices=int(_first(r"mpirun .*?-n (\d+)", head)),
        steps=config.train.total_step or (int(steps) if steps else None),
        miou=_first(r"Published: ([\d.]+\d)", head),
        miou_flip=_first(r"Published with flip: ([\d.]+\d)", head),
        miou_multi_scale=_first(r"([\d.]+) multi-scale and flip", head)
        or _first(r"Published with multi-scale and flip: ([\d.]+\d)", head),
        miou_test=_first(r"Published on the test set with multi-scale and flip: ([\d.]+\d)", head),
    )


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def table(language: str = "en") -> str:
    """The zoo as a Markdown table."""
    numbers, words = models(), WORDS[language]
    head = HEADS[language].split(" | ")
    lines = [f"| {' | '.join(head)} |", "| --- " * 4 + "| ---: " * 6 + "| --- " * 3 + "|"]
    for entry in entries():
        data, train, known = entry.config.data, entry.config.train, numbers[entry.path.stem]
        epochs = f"{train.epochs} {words['epochs']}" if train.epochs else ""
        steps = f"{entry.steps:,}" if entry.steps else epochs
        if entry.steps and epochs:
            steps += f" ({epochs})"
        flip = f"{entry.miou_flip} ({words['flip']})" if entry.miou_flip else "-"
        test = f"{entry.miou_test} ({words['test']})" if entry.miou_test else "-"
        cells = [
            f"`{entry.path.stem}`",
            entry.config.model.backbone,
            DATA_SETS[data.format],
            f"{data.crop_size[0]}x{data.crop_size[1]}",
            f"{known.params_m:.3f}",
            f"{known.gflops:.1f}",
            f"{entry.devices} x {train.batch_size}",
            steps,
            entry.miou or flip,
            entry.miou_multi_scale or test,
            entry.publisher,
            f"[{words['file']}]({known.weights})" if known.weights else "-",
            words["compared"] if (entry.publisher, entry.config.model.backbone) in COMPARED else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(config: Config) -> tuple[float, float]:
    """Trainable parameters in millions, and 10^9 FLOPs of one 512 x 1024 forward pass."""
    from ocrnet.models.complexity import count_flops, count_parameters
    from ocrnet.models.ocrnet import OCRNet

    network = OCRNet(config.model, len(config.data.classes))
    return round(count_parameters(network) / 1e6, 3), round(count_flops(network, 512, 1024) / 1e9, 1)


def line(entry: Entry, params_m: float, gflops: float, weights: str | None) -> str:
    """The entry of a config in models.yml."""
    values = [f"data_set: {entry.config.data.format}", f"params_m: {params_m:.3f}", f"gflops: {gflops:.1f}"]
    scores = {"miou": entry.miou, "miou_flip": entry.miou_flip, "miou_ms_flip": entry.miou_multi_scale}
    scores["miou_test"] = entry.miou_test
    values += [f"{name}: {score}" for name, score in scores.items() if score]
    address = f',\n  weights: "{weights}"' if weights else ""
    return f"{entry.path.stem}: {{{', '.join(values)}{address}}}\n"


def measure_all() -> None:
    """Count every network of the zoo and write models.yml."""
    from ocrnet.runtime import device

    device.init("CPU", mode=1)
    text, known = ZOO.read_text(encoding="utf-8"), models()
    comment = "".join(line for line in text.splitlines(True) if line.startswith("#"))
    measured: dict[tuple[str, int], tuple[float, float]] = {}
    lines = []
    for entry in sorted(entries(), key=lambda entry: entry.path.stem):
        key = (entry.config.model.model_dump_json(), len(entry.config.data.classes))
        if key not in measured:
            measured[key] = measure(entry.config)
        weights = known[entry.path.stem].weights if entry.path.stem in known else None
        lines.append(line(entry, *measured[key], weights))
        print(lines[-1], end="", flush=True)
    ZOO.write_text(f"{comment}\n{''.join(lines)}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language", choices=list(HEADS), default="en")
    parser.add_argument("--measure", action="store_true", help="count parameters and FLOPs again")
    args = parser.parse_args()
    if args.measure:
        measure_all()
    else:
        print(table(args.language))


if __name__ == "__main__":
    sys.exit(program.run(main))
