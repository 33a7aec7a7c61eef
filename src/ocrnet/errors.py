"""Mistakes that are the user's to fix. program.py says them in one line and ends with status 2."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """Something the user can fix. The message names the file, the value and the fix.

    Args:
        details: lines below the message.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join([message, *details]))


class Conflict(ValueError):
    """Keys that do not go together.

    Args:
        keys: their dotted names.
        problem: what is wrong and how to fix it.
    """

    def __init__(self, keys: tuple[str, ...], problem: str) -> None:
        super().__init__(f"{', '.join(keys)}: {problem}")
        self.keys, self.problem = keys, problem


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The sentence «Did you mean X?» for a mistyped `word`, or the empty string when nothing known is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def write_text(path: Path, text: str) -> None:
    """Write a file that the user asked for. Raises UserError when it cannot be written.

    Names of files that are not UTF-8 keep their bytes, so that a list of them leads to the files.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: cannot write this file: {error.strerror}") from None
