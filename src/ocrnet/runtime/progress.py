"""Progress bars: updated continuously on a terminal, every 10 s in a log file."""

import sys

from tqdm import tqdm

from ocrnet.distributed import launcher


def bar(**options) -> tqdm:
    """Create a tqdm bar on stderr, on rank 0 only. Refreshes every 0.2 s on a terminal, otherwise every 10 s."""
    terminal = sys.stderr.isatty()
    options["disable"] = not launcher.ranks().is_main
    return tqdm(mininterval=0.2 if terminal else 10, maxinterval=10, dynamic_ncols=True, **options)


def write(text: str) -> None:
    """Print a line to stdout without breaking the progress bars."""
    tqdm.write(text)
