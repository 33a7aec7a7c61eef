"""Progress bars: lively on a terminal, a line now and then in a log."""

import sys

from tqdm import tqdm

from ocrnet.distributed import launcher


def bar(**options) -> tqdm:
    """A tqdm bar on stderr, of rank 0; where nobody watches it is drawn every 10 s only, and not in two places."""
    watched = sys.stderr.isatty()
    options["disable"] = not launcher.ranks().is_main
    return tqdm(mininterval=0.2 if watched else 10, maxinterval=10, dynamic_ncols=True, **options)


def write(text: str) -> None:
    """Print a line on stdout without tearing the bars."""
    tqdm.write(text)
