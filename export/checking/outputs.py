"""Does an exported graph give what the original gives, output by output; and what is it worth?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from export.graph_requests import GraphSource, Scoring
from export.samples import GraphPredictor, outputs_of
from foundation.errors import ExportError
from foundation.graph_bundle import Outputs
from foundation.output_agreement import (
    OutputAgreement,
    output_agreement,
    output_tolerance,
    tolerance_problems,
)
from foundation.records import as_dict

_REMEDY = {
    "fp32": "do not use this model, try another format or opset",
    "fp16": "use fp32",
    "bf16": "use fp16 or fp32",
    "int8": "use fp16 or fp32, more calibration samples, or a scorer that says what it costs "
    "(--scorer)",
}


def agreements_of(
    source: GraphSource, predict: GraphPredictor, bundle: str
) -> list[OutputAgreement]:
    """How a written graph agrees with the original on the probe, output by output.

    Raises:
        ExportError: when a number is not finite where the original's is.
    """
    outputs = outputs_of(predict, source.output_names, source.probe)
    try:
        return [
            output_agreement(name, source.reference[name], outputs[name])
            for name in source.output_names
        ]
    except ValueError as error:
        raise ExportError(f"{bundle}: {error}; do not use this model") from error


def check_outputs(agreements: Sequence[OutputAgreement], precision: str, bundle: str) -> None:
    """Hold every output to its precision's tolerance.

    Raises:
        ExportError: when one does not keep it; the first is told, and how many more.
    """
    limits = output_tolerance(precision)
    problems = [
        f"output {agreement.name!r} {problem}"
        for agreement in agreements
        for problem in tolerance_problems(agreement, limits)
    ]
    if problems:
        more = f" (so {len(problems) - 1} more)" if len(problems) > 1 else ""
        remedy = _REMEDY.get(precision, _REMEDY["int8"])
        raise ExportError(f"{bundle}: {precision} {problems[0]}{more}; {remedy}")


def parity_facts(agreements: Sequence[OutputAgreement], precision: str) -> dict[str, Any]:
    """The manifest's `parity` of a graph."""
    limits = asdict(output_tolerance(precision))
    finite = {name: None if limit == float("inf") else limit for name, limit in limits.items()}
    return {
        "n": agreements[0].n,
        "outputs": [as_dict(agreement) for agreement in agreements],
        "tolerance": finite,
    }


def scores_of(scoring: Scoring, predict: GraphPredictor, names: Sequence[str]) -> dict[str, float]:
    """What the user's scorer gives a graph, by name; whatever it raises, `Scoring.score` has put
    in our words."""
    outputs: Outputs = outputs_of(predict, names, scoring.samples)
    return scoring.score(outputs, scoring.samples.ids)


def accuracy_facts(
    scoring: Scoring,
    scores: dict[str, float],
    original: dict[str, float],
    tolerated: float,
    bundle: str,
) -> dict[str, Any]:
    """The manifest's `accuracy` of a graph that was scored, and may lose so many points.

    Raises:
        ExportError: when the original's first score is not among them.
    """
    first = next(iter(original))
    if first not in scores:
        raise ExportError(
            f"{bundle}: scorer {scoring.name} gave the original {first}, but this model only "
            f"{', '.join(scores)}; have it give the same scores of whatever it is shown"
        )
    return {
        "scores": scores,
        "original": original,
        "drop": 100 * (original[first] - scores[first]),
        "tolerated": tolerated,
        "n": len(scoring.samples),
        "scorer": scoring.name,
    }
