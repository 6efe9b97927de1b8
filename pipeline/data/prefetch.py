"""Work done ahead in threads, its results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 64


def prefetched(
    make: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2
) -> Iterator[Result]:
    """`map(make, items)`, where the next `ahead` results are under way while one is used.

    No more than these are ever held. An error is raised where its result would have come.
    """
    for (result,) in in_pieces(lambda item: [lambda: make(item)], items, ahead, ahead):
        yield result


def in_pieces(
    pieces_of: Callable[[Item], Sequence[Callable[[], Result]]],
    items: Iterable[Item],
    ahead: int = 2,
    threads: int | None = None,
) -> Iterator[list[Result]]:
    """What the pieces of each item's work give, item by item, done by many threads at once.

    The work of the next `ahead` items is under way while the results of one are used; of no more
    is anything ever held. An error is raised where its result would have come.

    Args:
        pieces_of: the work of an item, in pieces that any thread may do in any order.
        items: in the order of the results.
        ahead: how many items are worked on before they are needed.
        threads: how many work; None has one on each core.
    """
    pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="prefetch")
    waiting: deque[list[Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append([pool.submit(piece) for piece in pieces_of(item)])
            if len(waiting) > ahead:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cores() -> int:
    """Cores that this process may use; those of a machine are shared by what torchrun started."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(cores // processes, 1), _MOST_THREADS)
