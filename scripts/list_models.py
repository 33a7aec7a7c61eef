"""List the published networks: data set, parameters, mIoU, and whether their weights are on this disk.

python scripts/list_models.py
python scripts/list_models.py "*cityscapes*"
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import ocrnet  # noqa: F401  sets the environment
from ocrnet.runtime import program
from ocrnet.zoo.cached_weights import cache_folder, converted_path
from ocrnet.zoo.published import PublishedModel, list_models, models

HEAD = ("name", "data set", "params, M", "mIoU, %", "ms+flip, %", "size, MB", "on this disk", "licence")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern of names, such as '*cityscapes*'")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    rows = [HEAD, *(row(models()[name]) for name in list_models(args.pattern))]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    print(f"cache: {cache_folder()}")


def row(model: PublishedModel) -> tuple[str, ...]:
    """Returns the cells of a network; a size that is not known from the disk is that of its parameters in float32."""
    file = converted_path(model.name)
    here = file.is_file()
    size = f"{file.stat().st_size / 1e6:.0f}" if here else f"~{4 * model.params_m:.0f}"
    flip = f"{model.miou_flip:.2f} (flip)" if model.miou_flip else "-"
    test = f"{model.miou_test:.2f} (test set)" if model.miou_test else "-"
    return (
        model.name,
        model.data_set,
        f"{model.params_m:.1f}",
        f"{model.miou:.2f}" if model.miou else flip,
        f"{model.miou_ms_flip:.2f}" if model.miou_ms_flip else test,
        size,
        "yes" if here else "-",
        model.publisher.licence,
    )


if __name__ == "__main__":
    sys.exit(program.run(main))
