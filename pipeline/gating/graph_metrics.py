"""What a budget can limit of a graph that is no classifier: its scores, and each of its outputs.

score                          what the scorer gave when the bundle was exported: the first figure
score.NAME                     another of its figures
score_drop_points              hundredths by which the first lies below the original's
outputs.NAME.relative_error    an output on the device, held against the original's; see
outputs.NAME.signal_to_noise_db        `foundation.output_agreement`
outputs.NAME.equal_percent
outputs.NAME.same_shape_percent
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from deploy_targets.measurement import Measurement

GRAPH_METRICS = (
    "score", "score.NAME", "score_drop_points", "outputs.NAME.relative_error",
    "outputs.NAME.signal_to_noise_db", "outputs.NAME.equal_percent",
    "outputs.NAME.same_shape_percent",
)  # fmt: skip

GraphFigure: TypeAlias = Callable[[Measurement], float | str]
"""The figure in a measurement, or why there is none."""

_OUTPUT = re.compile(
    r"outputs\.(?P<name>.+)\."
    r"(?P<figure>relative_error|signal_to_noise_db|equal_percent|same_shape_percent)"
)
_UNITS = {
    "relative_error": ("of the spread", (0.0, math.inf)),
    "signal_to_noise_db": ("dB", (-200.0, 200.0)),
    "equal_percent": ("% of numbers", (0.0, 100.0)),
    "same_shape_percent": ("% of samples", (0.0, 100.0)),
}
_NO_SCORE = (
    "not measured: nobody scored it when it was exported; export the ONNX file with --scorer"
)


def graph_metric(name: str) -> tuple[GraphFigure, str, str, tuple[float, float]] | None:
    """How a metric of a graph is read, what it is, its unit, and within what it lies; None where
    the name is of none."""
    if name == "score_drop_points":
        words = "points of its score below the original's"
        return _drop, words, "points", (-math.inf, math.inf)
    if name == "score" or name.startswith("score."):
        figure = partial(_score, name.partition(".")[2] or None)
        return figure, "what the scorer gave", "", (-math.inf, math.inf)
    match = _OUTPUT.fullmatch(name)
    if match is None:
        return None
    unit, within = _UNITS[match["figure"]]
    figure = partial(_output, match["name"], match["figure"])
    return figure, f"output {match['name']} held against the original's", unit, within


def _drop(measurement: Measurement) -> float | str:
    drop = measurement.bundle.score_drop
    return _NO_SCORE if drop is None else drop


def _score(name: str | None, measurement: Measurement) -> float | str:
    scores = measurement.bundle.scores
    if not scores:
        return _NO_SCORE
    chosen = next(iter(scores)) if name is None else name
    if chosen not in scores:
        return f"not measured: its scorer gave {', '.join(scores)}, but no {chosen}"
    return scores[chosen]


def _output(name: str, figure: str, measurement: Measurement) -> float | str:
    outputs = {output.name: output for output in measurement.parity.outputs}
    if name not in outputs:
        known = ", ".join(outputs) or "none, for it is a classifier's"
        return f"not measured: the bundle has no output {name!r} (it has {known})"
    share = figure.endswith("_percent")
    value: float | None = getattr(outputs[name], figure.removesuffix("_percent"))
    if value is not None:
        return 100 * value if share else value
    if outputs[name].same_shape == 0:
        return "not measured: it has the original's shape for no sample"
    whole = outputs[name].equal is not None
    return (
        f"not measured: it is of {'whole' if whole else 'floating'} numbers; limit "
        f"outputs.{name}.{'equal_percent' if whole else 'signal_to_noise_db'}"
    )
