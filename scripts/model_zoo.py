"""Print a Markdown table of recipes: backbone, classes, measured parameters and FLOPs of one 512 x 1024 forward.

python scripts/model_zoo.py config/ocrnet/*.yml
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ocrnet import device, errors
from ocrnet.models.complexity import count_flops, count_parameters
from ocrnet.models.ocrnet import OCRNet
from ocrnet.recipes import load_config

HEAD = "| recipe | backbone | classes | params, M | GFLOPs |\n|---|---|---|---|---|"


def row(recipe: Path) -> str:
    """One line of the table."""
    config = load_config(recipe)
    classes = len(config.data.classes)
    network = OCRNet(config.model, classes)
    parameters, flops = count_parameters(network) / 1e6, count_flops(network, 512, 1024) / 1e9
    return f"| {recipe.stem} | {config.model.backbone} | {classes} | {parameters:.3f} | {flops:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE.yml")
    recipes = parser.parse_args().recipes
    device.init("CPU", mode=1)
    print(HEAD)
    for recipe in recipes:
        print(row(recipe), flush=True)


if __name__ == "__main__":
    sys.exit(errors.run(main))
