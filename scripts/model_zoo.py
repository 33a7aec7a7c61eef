"""Print the model zoo as a Markdown table: computed parameters and FLOPs, and the published scores in each config.

python scripts/model_zoo.py config/ocrnet/*.yml
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet.config import ModelConfig
from ocrnet.config.loading import load_config
from ocrnet.models.complexity import count_flops, count_parameters
from ocrnet.models.ocrnet import OCRNet
from ocrnet.runtime import device, program

HEAD = (
    "| config | params, M | GFLOPs | mIoU | multi-scale + flip | published by | parity tested |\n"
    "| --- | ---: | ---: | ---: | ---: | --- | --- |"
)
SOURCES = {"mmseg": "mmsegmentation", "ssseg": "sssegmentation", "hrnet_ocr": "HRNet-OCR", "hrw": "mindspore-lab"}
# For these, tests/weights/test_published.py compares the logits with those of the source project; the others differ in
# width or depth only. mmsegmentation's ResNet is compared at a depth of 50.
COMPARED = {
    ("mmsegmentation", "hrnet_w18_small"),
    ("sssegmentation", "hrnet_w18_small"),
    ("HRNet-OCR", "hrnet_w48"),
    ("mindspore-lab", "hrnet_w32"),
}


def measure(model: ModelConfig, classes: int) -> str:
    """Returns two cells of the table: parameters in millions and GFLOPs of one 512 x 1024 forward pass."""
    network = OCRNet(model, classes)
    return f"{count_parameters(network) / 1e6:.3f} | {count_flops(network, 512, 1024) / 1e9:.1f}"


def first(pattern: str, text: str) -> str:
    """Returns the first group of the first match, or ""."""
    match = re.search(pattern, text)
    return match[1] if match else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path, metavar="FILE.yml")
    configs = parser.parse_args().configs
    device.init("CPU", mode=1)
    print(HEAD)
    measured: dict[tuple[str, int], str] = {}
    for config_file in configs:
        config = load_config(config_file)
        source = next((name for key, name in SOURCES.items() if key in config_file.stem), "")
        text = config_file.read_text(encoding="utf-8")
        single = first(r"Published: ([\d.]+\d)", text)
        multi = first(r"([\d.]+) multi-scale and flip", text) or first(r"multi-scale and flip: ([\d.]+)", text)
        key = (config.model.model_dump_json(), len(config.data.classes))
        if key not in measured:
            measured[key] = measure(config.model, len(config.data.classes))
        compared = "yes" if (source, config.model.backbone) in COMPARED else ""
        link = f"[{config_file.stem}]({config_file.as_posix()})"
        print(f"| {link} | {measured[key]} | {single} | {multi} | {source} | {compared} |", flush=True)


if __name__ == "__main__":
    sys.exit(program.run(main))
