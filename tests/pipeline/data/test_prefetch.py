from __future__ import annotations

import threading
import time

import pytest

from pipeline.data.prefetch import prefetched


def test_results_come_in_order_whichever_is_ready_first() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.03 if number == 0 else 0)
        return number * 10

    assert list(prefetched(slow_at_first, range(5), ahead=3)) == [0, 10, 20, 30, 40]
    assert list(prefetched(slow_at_first, [])) == []


def test_the_next_are_under_way_while_one_is_used_and_no_more() -> None:
    begun: list[int] = []
    results = prefetched(begun.append, range(100), ahead=2)
    next(results)
    deadline = time.monotonic() + 10
    while len(begun) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert sorted(begun) == [0, 1, 2]
    results.close()
    assert sorted(begun) == [0, 1, 2]


def test_work_is_done_in_other_threads() -> None:
    assert threading.get_ident() not in list(prefetched(lambda _: threading.get_ident(), range(4)))


def test_an_error_comes_where_its_result_would_have() -> None:
    results = prefetched(lambda number: 1 // (2 - number), range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_threads_end_with_the_one_who_stops_early() -> None:
    before = threading.active_count()
    for _ in prefetched(lambda number: number, range(1000)):
        break
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() == before
