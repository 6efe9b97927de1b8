from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from pipeline.data.prefetch import in_pieces, prefetched, usable_cores


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


class TestWorkInPieces:
    def test_is_done_by_several_threads_at_once(self) -> None:
        together = threading.Barrier(3, timeout=10)

        def pieces_of(item: int) -> list[Callable[[], int]]:
            def piece(number: int) -> int:
                together.wait()
                return 10 * item + number

            return [partial(piece, number) for number in range(3)]

        results = list(in_pieces(pieces_of, range(4), threads=3))
        assert results == [[0, 1, 2], [10, 11, 12], [20, 21, 22], [30, 31, 32]]

    def test_that_fails_is_told_in_its_turn_and_the_rest_is_left(self) -> None:
        begun: list[int] = []

        def pieces_of(item: int) -> list[Callable[[], float]]:
            return [lambda: begun.append(item) or 1 / (item - 1)]

        results = in_pieces(pieces_of, range(1000), ahead=1, threads=1)
        assert next(results) == [-1.0]
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert len(begun) < 5


def test_the_cores_of_a_machine_are_shared_by_the_processes_on_it(monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)), raising=False)
    for processes, cores in (("1", 8), ("4", 2), ("16", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert usable_cores() == cores
