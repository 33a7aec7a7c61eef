"""How a program ends: its exit status, and what it says when it fails."""

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
)  # MindSpore's and oneDNN's words for it; the latter says no more than that when its buffers do not fit
_MEMORY_ADVICE = (
    "Lower train.batch_size (train.accumulate_steps=N then keeps N batches to a step, model.freeze_norm=True the "
    "BatchNorm of small ones), data.crop_size, or give eval.window=[512,1024] where large images are evaluated; "
    "model.freeze=backbone, train.amp=all on an accelerator and a smaller model.backbone spare memory, too."
)


def out_of_memory(error: Exception) -> str:
    """What an error says where its cause is that memory ran out; the empty string for every other error."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error))):
        return (str(error).strip().splitlines() or ["no more memory"])[0]
    return ""


def run(main: Callable[[], None]) -> int:
    """Run an entry point and return its exit status: 0 means that the work is done.

    Mistakes of the user end with status 2, Ctrl-C with 130, SIGTERM with 143. Everything else is our mistake and keeps
    its traceback. One of several ranks leaves at once; rank 0 speaks first, for what it knows the others know as well.
    """
    status, message = 0, ""
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text; stderr does this already
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
            status, message = 2, f"error: memory ran out ({reason}). {_MEMORY_ADVICE}"
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
    launcher.exit_process(status)
    return status
