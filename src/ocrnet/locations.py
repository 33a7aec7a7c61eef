"""Where the entry scripts and the shipped configs lie."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "programs"
PROGRAMS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1]
"""The folder with train.py, eval.py, scripts/ and config/: in the installed package, or the repository root."""
