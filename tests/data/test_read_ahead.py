import threading
from itertools import islice

import pytest

from ocrnet.data.read_ahead import read_ahead


def test_items_come_in_order_though_later_ones_are_read_first():
    later = threading.Event()

    def read(number: int) -> int:
        if number == 0:
            assert later.wait(10)  # item 1 is read while this one waits
        later.set()
        return number

    assert list(read_ahead(read, range(10), threads=2, ahead=4)) == list(range(10))


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (2, 4)])
def test_no_more_than_the_next_items_are_read(threads, ahead):
    started, last, before = [], threading.Event(), threading.active_count()

    def read(number: int) -> int:
        started.append(number)
        if number == 2 + ahead:
            last.set()
        return number

    items = read_ahead(read, range(100), threads, ahead)
    assert list(islice(items, 3)) == [0, 1, 2]
    assert last.wait(10)
    assert sorted(started) == list(range(3 + ahead))
    items.close()
    assert sorted(started) == list(range(3 + ahead))
    assert threading.active_count() == before


def test_an_error_is_raised_in_the_place_of_its_item():
    def read(number: int) -> int:
        if number in (3, 4):
            raise ValueError(f"item {number}")
        return number

    items = read_ahead(read, range(10), threads=2, ahead=4)
    assert list(islice(items, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(items)
