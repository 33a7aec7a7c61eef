"""The command `ocrnet`: each subcommand runs one of the repository's programs."""

import ast
import sys
from types import ModuleType

import ocrnet
from ocrnet.errors import did_you_mean
from ocrnet.locations import PROGRAMS

GROUPS = {
    "train and use": {
        "train": "train.py",
        "eval": "eval.py",
        "predict": "scripts/predict.py",
        "demo": "scripts/demo_page.py",
        "compare": "scripts/compare.py",
    },
    "data": {
        "demo-data": "scripts/make_demo_data.py",
        "check": "scripts/check_dataset.py",
        "samples": "scripts/show_samples.py",
        "labels": "scripts/find_label_errors.py",
        "lists": "scripts/make_lists.py",
        "masks": "scripts/polygons_to_masks.py",
        "polygons": "scripts/masks_to_polygons.py",
        "pack": "scripts/pack_dataset.py",
        "voc-aug": "scripts/make_voc_aug.py",
    },
    "weights and models": {
        "models": "scripts/list_models.py",
        "show": "scripts/show_checkpoint.py",
        "card": "scripts/model_card.py",
        "convert": "scripts/convert_weights.py",
        "convert-config": "scripts/convert_config.py",
        "export": "scripts/export.py",
    },
    "devices and cloud": {
        "doctor": "scripts/check_device.py",
        "modelarts": "scripts/submit_modelarts.py",
    },
    "shell": {
        "completion": "scripts/completion.py",
    },
}
"""{title: {subcommand: its program}}, in the order of the help"""

COMMANDS = {command: program for commands in GROUPS.values() for command, program in commands.items()}
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
    module = sys.modules["__main__"] = ModuleType("__main__")  # runpy would put the path into sys.argv[0]
    module.__file__ = str(path)
    exec(compile(path.read_bytes(), path, "exec"), module.__dict__)


def _unknown(command: str, hint: str) -> int:
    print(f"error: unknown command {command}.{hint} (see ocrnet --help)", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = []
    for title, commands in GROUPS.items():
        lines.append(f"{title}:")
        lines += [f"  {command:<{width}}  {summary(command)}" for command in commands]
        lines.append("")
    return "\n".join(
        [
            "usage: ocrnet COMMAND ...",
            "",
            "Semantic segmentation with OCRNet on MindSpore.",
            "",
            *lines,
            "ocrnet COMMAND --help explains a command; ocrnet --version prints the version.",
            'eval "$(ocrnet completion bash)" lets the Tab key complete commands, flags, files and names of networks.',
        ]
    )


def summary(command: str) -> str:
    """Returns the first sentence of the docstring of a command's program, without starting it."""
    program = PROGRAMS / COMMANDS[command]
    text = ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0].partition(": ")[0].partition(". ")[0].rstrip(".")
