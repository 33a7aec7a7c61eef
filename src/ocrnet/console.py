"""The command `ocrnet`: each subcommand runs one of the repository's programs."""

import ast
import runpy
import sys
from pathlib import Path

import ocrnet
from ocrnet.errors import did_you_mean
from ocrnet.locations import PROGRAMS

COMMANDS = {
    "train": "train.py",
    "eval": "eval.py",
    "predict": "scripts/predict.py",
    "demo": "scripts/demo_page.py",
    "export": "scripts/export.py",
    "models": "scripts/list_models.py",
    "show": "scripts/show_checkpoint.py",
    "compare": "scripts/compare.py",
    "convert": "scripts/convert_weights.py",
    "convert-config": "scripts/convert_config.py",
    "check": "scripts/check_dataset.py",
    "doctor": "scripts/check_device.py",
    "lists": "scripts/make_lists.py",
    "masks": "scripts/polygons_to_masks.py",
    "pack": "scripts/pack_dataset.py",
    "voc-aug": "scripts/make_voc_aug.py",
    "demo-data": "scripts/make_demo_data.py",
    "modelarts": "scripts/submit_modelarts.py",
}
"""{subcommand: its program}"""


def main() -> None:
    """Runs `ocrnet COMMAND FLAGS`."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return
    if arguments[0] in ("-V", "--version"):
        print(f"ocrnet {ocrnet.__version__}")
        return
    command = arguments[0]
    if command not in COMMANDS:
        sys.exit(_unknown(command, did_you_mean(command, COMMANDS)))
    _run(COMMANDS[command], f"ocrnet {command}", arguments[1:])


def train() -> None:
    _run("train.py", "ocrnet-train", sys.argv[1:])


def evaluate() -> None:
    _run("eval.py", "ocrnet-eval", sys.argv[1:])


def predict() -> None:
    _run("scripts/predict.py", "ocrnet-predict", sys.argv[1:])


def _run(program: str, name: str, arguments: list[str]) -> None:
    """Runs a program with `name` in its messages, as if its file had been started."""
    path = PROGRAMS / program
    sys.argv = [name, *arguments]
    sys.path.insert(0, str(path.parent))  # as Python does for a file: some programs import their neighbours
    runpy.run_path(str(path), run_name="__main__")


def _unknown(command: str, hint: str) -> int:
    print(f"error: unknown command {command}.{hint} (see ocrnet --help)", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {command:<{width}}  {_summary(PROGRAMS / file)}" for command, file in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ocrnet COMMAND ...",
            "",
            "Semantic segmentation with OCRNet on MindSpore.",
            "",
            *lines,
            "",
            "ocrnet COMMAND --help explains a command; ocrnet --version prints the version.",
        ]
    )


def _summary(program: Path) -> str:
    """Returns the first sentence of a program's docstring, without starting it."""
    text = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0].partition(": ")[0].rstrip(".")
