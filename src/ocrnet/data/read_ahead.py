"""Reads items in threads before they are used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(read: Callable[[int], Item], numbers: Iterable[int], threads: int, ahead: int) -> Iterator[Item]:
    """Yields `read(number)` of each number in order. `threads` read the next `ahead` items while one is used.

    An exception of `read` is raised in the place of its item; the items before it are complete.
    """
    pool = ThreadPoolExecutor(threads)
    waiting = deque()
    try:
        for number in numbers:
            waiting.append(pool.submit(read, number))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
