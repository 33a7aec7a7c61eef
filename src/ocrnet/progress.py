"""Progress bars: lively on a terminal, a line now and then in a log."""

import sys

from tqdm import tqdm


def bar(**options) -> tqdm:
    """A tqdm bar on stderr; where nobody watches it is drawn every 10 s only, and not twice in two places."""
    watched = sys.stderr.isatty()
    return tqdm(mininterval=0.2 if watched else 10, maxinterval=10, dynamic_ncols=True, **options)


def say(text: str) -> None:
    """Print a line on stdout without tearing the bars."""
    tqdm.write(text)
