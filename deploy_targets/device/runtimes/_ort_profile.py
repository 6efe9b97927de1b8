"""ONNX Runtime's profile: a JSON list of events, one a line, each with its beginning and duration.

An event "model_run" is an inference; one of category "Node" that ends in "_kernel_time" is an
operator of the graph as it was optimised, and lies within its inference. Times are whole
microseconds, cut and not rounded.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy_targets.device.operator_times import ProfiledOperator

Event = dict[str, Any]
FormatOf = Callable[[Mapping[str, Any]], str | None]

_KERNEL = "_kernel_time"
_US_PER_MS = 1e3


@dataclass(frozen=True)
class RunsNoted:
    """The inferences of a profile.

    Attributes:
        warmup_n: that warmed up, from the first on.
        n: after them.
        counted: places of those of them that count, in order.
    """

    warmup_n: int
    n: int
    counted: list[int]


@dataclass
class _Kernel:
    """An operator while its times are summed up.

    Attributes:
        place: where it first stood in the time of an inference.
        own_us: microseconds of all inferences, without those of operators within it.
    """

    name: str
    kind: str
    precision: str | None
    place: int
    own_us: int = 0


def events_in(path: Path) -> Iterator[Event]:
    """The events of a profile, one by one: all together take many times the file's size.

    Raises:
        ValueError: when a line is no event.
    """
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            text = line.strip().rstrip(",")
            if text not in {"[", "]", ""}:
                yield json.loads(text)


def mean_times(
    events: Iterable[Event], runs: RunsNoted, format_of: FormatOf
) -> list[ProfiledOperator]:
    """What each operator takes in an inference.

    Args:
        events: of a profile.
        runs: which inferences count.
        format_of: the number format that an event's arguments tell of.

    Raises:
        ValueError: when the profile has others: it ends at a million events.
    """
    nodes: list[tuple[int, int, Event]] = []
    inferences: list[tuple[int, int]] = []
    for event in events:
        begun = int(event.get("ts", 0))
        ended = begun + int(event.get("dur", 0))
        if event.get("name") == "model_run":
            inferences.append((begun, ended))
        elif event.get("cat") == "Node" and _is_kernel(event):
            nodes.append((begun, ended, event))
    if len(inferences) != runs.warmup_n + runs.n:
        raise ValueError(
            f"its profile has {len(inferences)} inferences, but {runs.warmup_n + runs.n} were run; "
            "the graph has more operators than it can hold"
        )
    counted = sorted(inferences)[runs.warmup_n :]
    kernels = _summed(nodes, [counted[place] for place in runs.counted], format_of)
    return [
        ProfiledOperator(
            name=kernel.name,
            kind=kernel.kind,
            ms=kernel.own_us / len(runs.counted) / _US_PER_MS,
            precision=kernel.precision,
        )
        for kernel in sorted(kernels, key=lambda kernel: kernel.place)
    ]


def _is_kernel(event: Event) -> bool:
    # Older releases (1.20 does) tell of fences around the kernel too, which take next to nothing.
    return str(event.get("name")).endswith(_KERNEL) and "op_name" in event.get("args", {})


def _summed(
    nodes: Sequence[tuple[int, int, Event]],
    runs: Sequence[tuple[int, int]],
    format_of: FormatOf,
) -> list[_Kernel]:
    """Operators with the microseconds that they took in those inferences."""
    kernels: dict[tuple[str, str], _Kernel] = {}
    begins = [begun for begun, _ in runs]
    # One that runs others (If, Loop) begins before them, or with them and ends later.
    ordered = sorted(nodes, key=lambda node: (node[0], -node[1]))
    around: list[tuple[int, _Kernel]] = []
    for begun, ended, event in ordered:
        at = bisect.bisect_right(begins, begun) - 1
        if at < 0 or ended > runs[at][1]:
            continue
        arguments, name = event["args"], str(event["name"]).removesuffix(_KERNEL)
        key = (name, str(arguments.get("node_index")))
        if key not in kernels:
            kernels[key] = _Kernel(
                name or arguments["op_name"],
                arguments["op_name"],
                format_of({"input_type_shape": [], **arguments}),
                begun - runs[at][0],
            )
        kernel = kernels[key]
        kernel.own_us += ended - begun
        while around and around[-1][0] <= begun:
            around.pop()
        if around and ended <= around[-1][0]:
            around[-1][1].own_us -= ended - begun
        around.append((ended, kernel))
    return list(kernels.values())
