"""What a network is judged by beside top-1: a metric of this package, or one's own.

A metric is a function of logits, labels and ids that gives a number, or several by name; a file of
this package registers one, and so does another distribution's entry point of the group
`pipeline.metrics`. A recipe names one by its name or as "package.module:function" (`metric`).
Higher is better; what is chosen by a metric goes by the first of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from foundation.registry import Registry
from pipeline.recipe.code import code_identity

MetricFunction: TypeAlias = Callable[[Any, Any, Any], "float | Mapping[str, float]"]
"""(logits float32 (N, classes), labels int64 (N,), ids int64 (N,)) -> figures; higher is better.

All three are numpy arrays; ids are the images' numbers in their part of the data, from 0.
"""

METRICS: Registry[MetricFunction] = Registry("metric", "pipeline.metrics")


def metric_identity(name: str) -> str:
    """What a recipe's metric is known by: its name, and what its code is where that is not ours.

    Raises:
        UnknownNameError: when there is none of that name.
    """
    place = name
    if ":" not in name:
        function = METRICS.get(name)
        is_ours = function.__module__.startswith(f"{__name__}.")
        place = "" if is_ours else f"{function.__module__}:{function.__name__}"
    return f"{name} {code_identity(place) or ''}".strip()
