"""Runs an entry point: exit status and error messages."""

import re
import sys
import time
import traceback
from collections.abc import Callable

from ocrnet.distributed import launcher
from ocrnet.errors import UserError
from ocrnet.runtime.signals import Stopped

_OUT_OF_MEMORY = re.compile(
    r"out of memory|memory (isn't|is not|not) enough|alloc\w* .*memory.*failed|bad_alloc|"
    r"could not create a (memory|primitive)",
    re.IGNORECASE,
)  # messages of MindSpore and oneDNN
_MEMORY_ADVICE = (
    "Lower train.batch_size (train.accumulate_steps=N keeps the batch size of a step; model.freeze_norm=True helps "
    "with small batches) or data.crop_size, or set eval.window=[512,1024] to evaluate large images; "
    "model.freeze=backbone, train.amp=all on an accelerator and a smaller model.backbone also save memory."
)


def out_of_memory(error: Exception) -> str:
    """Returns the message of an out-of-memory error; "" for all other errors."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error))):
        return (str(error).strip().splitlines() or ["no more memory"])[0]
    return ""


def run(main: Callable[[], None]) -> int:
    """Run an entry point and return its exit status: 0 on success.

    User errors give status 2, Ctrl-C 130, SIGTERM 143. All other exceptions are bugs and keep their traceback. With
    several ranks, a failed rank exits immediately. Rank 0 prints first; the others usually have the same error.
    """
    status, message = 0, ""
    sys.stdout.reconfigure(errors="backslashreplace")  # file names may not be valid UTF-8; stderr does this already
    try:
        launcher.require_known_launcher()
        main()
    except UserError as error:
        status, message = 2, f"error: {error}"
    except Stopped as stop:
        status, message = 128 + stop.number, str(stop)
    except KeyboardInterrupt:
        status, message = 130, "interrupted"
    except Exception as error:
        if reason := out_of_memory(error):
            status, message = 2, f"error: out of memory ({reason}). {_MEMORY_ADVICE}"
        elif launcher.ranks().size == 1:
            raise
        else:
            status, message = 1, traceback.format_exc().rstrip()
    rank = launcher.ranks().rank
    if status and rank:
        time.sleep(2)  # if rank 0 has failed, too, the launcher kills this process meanwhile
        message = f"rank {rank}: {message}"
    if status:
        print(message, file=sys.stderr)
    launcher.exit_process(status)
    return status
