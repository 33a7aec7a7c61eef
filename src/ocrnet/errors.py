"""Mistakes that are the user's to mend: one clear line on stderr, no traceback, a non-zero status."""

import difflib
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ocrnet.distributed import launcher
from ocrnet.stopping import Stopped

_NO_MEMORY = re.compile(
    r"out of memory|memory (isn't|is not|not) enough|alloc\w* .*memory.*failed|bad_alloc|"
    r"could not create a (memory|primitive)",
    re.IGNORECASE,
)  # MindSpore's and oneDNN's words for it; the latter says no more than that when its buffers do not fit
_SPARE = (
    "Lower train.batch_size (train.accumulate_steps=N then keeps N batches to a step, model.freeze_norm=True the "
    "BatchNorm of small ones), data.crop_size, or give eval.window=[512,1024] where large pictures are evaluated; "
    "model.freeze=backbone, train.mix on an accelerator and a smaller model.backbone spare memory, too."
)


class UserError(Exception):
    """Something the user can mend. The message names the file, the value and the mend.

    Args:
        details: lines below the message; 20 of them are shown.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        more = [f"and {len(details) - 20} more"] if len(details) > 20 else []
        super().__init__("\n  ".join([message, *details[:20], *more]))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The sentence «Did you mean X?» for a mistyped `word`, or the empty string when nothing known is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def run(main: Callable[[], None]) -> int:
    """Run an entry point and return its exit status: 0 means that the work is done.

    Mistakes of the user end with status 2, Ctrl-C with 130, SIGTERM with 143. Everything else is our mistake and keeps
    its traceback. One of several ranks leaves at once; rank 0 speaks first, for what it knows the others know as well.
    """
    status, message = 0, ""
    try:
        main()
    except UserError as error:
        status, message = 2, f"error: {error}"
    except Stopped as stop:
        status, message = 128 + stop.number, str(stop)
    except KeyboardInterrupt:
        status, message = 130, "interrupted"
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
            first = (str(error).strip().splitlines() or ["no more memory"])[0]
            status, message = 2, f"error: memory ran out ({first}). {_SPARE}"
        elif launcher.ranks().size == 1:
            raise
        else:
            status, message = 1, traceback.format_exc().rstrip()
    rank = launcher.ranks().rank
    if status and rank:
        time.sleep(2)  # by then the launcher has ended this process if rank 0 has failed, too
        message = f"rank {rank}: {message}"
    if status:
        print(message, file=sys.stderr)
    launcher.leave(status)
    return status


def write_text(path: Path, text: str) -> None:
    """Write a file that the user asked for. Raises UserError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot write this file: {error.strerror}") from None
