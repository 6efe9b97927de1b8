"""Bundles of graphs that are no classifiers, as people see them: output by output."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from deploy_targets.measurement import Measurement
from foundation.bundle import AnyBundle
from foundation.output_agreement import OutputAgreement
from foundation.records import build
from pipeline.shown.outcome import table_of
from pipeline.shown.words import number

COLUMNS = ["bundle", "kB", "score", "points lost", "outputs", "folder"]


def graph_rows(bundles: Sequence[AnyBundle]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table of bundles: what each is worth, where somebody scored, and how
    its outputs agree with the original's."""
    rows = [
        [
            bundle.manifest.name,
            f"{bundle.model_bytes / 1e3:,.0f}",
            number(next(iter(bundle.manifest.accuracy.get("scores", {}).values()), None), 4),
            number(bundle.manifest.accuracy.get("drop"), 2),
            "; ".join(agreement_words(one) for one in agreements_in(bundle.manifest.parity)),
            str(bundle.folder),
        ]
        for bundle in bundles
    ]
    return list(COLUMNS), rows


def outputs_table(measurements: Sequence[Measurement]) -> Table:
    """A row an output of each measured bundle: how it agrees with the original's on the host."""
    rows = [
        [
            measurement.bundle.name,
            output.name,
            f"{output.same_shape:.0%}",
            *(_scientific(value) for value in (output.max_abs_error, output.relative_error)),
            number(output.signal_to_noise_db, 1),
            number(output.cosine, 6),
            number(None if output.equal is None else 100 * output.equal, 2),
        ]
        for measurement in measurements
        for output in measurement.parity.outputs
    ]
    heads = [
        "bundle", "output", "same shape", "largest error", "of its spread", "dB", "cosine",
        "equal %",
    ]  # fmt: skip
    return table_of("Outputs held against the original's", heads, rows)


def _scientific(value: float | None) -> str:
    return number(None, 0) if value is None else f"{value:.1e}"


def agreements_in(parity: dict[str, object]) -> list[OutputAgreement]:
    """The outputs in a manifest's parity."""
    outputs = parity.get("outputs", [])
    assert isinstance(outputs, list), "the manifest was looked at"
    return [build(OutputAgreement, raw) for raw in outputs]


def agreement_words(agreement: OutputAgreement) -> str:
    """How an output agrees with the original's: "scores 1.2e-06, 110 dB"."""
    if agreement.same_shape < 1:
        return f"{agreement.name} of the original's shape for {agreement.same_shape:.0%}"
    if agreement.equal is not None:
        return f"{agreement.name} {agreement.equal:.1%} equal"
    assert agreement.relative_error is not None, "its shape is the original's"
    return f"{agreement.name} {agreement.relative_error:.1e}, {agreement.signal_to_noise_db:.0f} dB"
