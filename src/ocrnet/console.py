"""Entry points of the installed package: ocrnet-train, ocrnet-eval and ocrnet-predict run the repository's scripts."""

import runpy
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
PROGRAMS = _PACKAGE / "programs" if (_PACKAGE / "programs").is_dir() else _PACKAGE.parents[1]
"""The folder with train.py, eval.py, scripts/ and config/: in the installed package, or the repository root."""


def train() -> None:
    runpy.run_path(str(PROGRAMS / "train.py"), run_name="__main__")


def evaluate() -> None:
    runpy.run_path(str(PROGRAMS / "eval.py"), run_name="__main__")


def predict() -> None:
    runpy.run_path(str(PROGRAMS / "scripts" / "predict.py"), run_name="__main__")
