"""Errors that the user can fix. program.py prints them without a traceback and exits with status 2."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """An error that the user can fix. The message names the file, the value and the fix.

    Args:
        details: lines printed below the message.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join([message, *details]))


class Conflict(ValueError):
    """Config keys that contradict each other.

    Args:
        keys: dotted names of the keys.
        problem: what is wrong and how to fix it.
    """

    def __init__(self, keys: tuple[str, ...], problem: str) -> None:
        super().__init__(f"{', '.join(keys)}: {problem}")
        self.keys, self.problem = keys, problem


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns " Did you mean X?" for a mistyped `word`, or an empty string if no known word is similar."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def write_text(path: Path, text: str) -> None:
    """Writes a text file and creates its folder. Raises UserError if it cannot be written.

    File names in the text that are not valid UTF-8 keep their bytes, so a list of such names stays usable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: cannot write this file: {error.strerror}") from None
