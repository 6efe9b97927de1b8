"""What the gate said, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pipeline.gating.ratios import RatioShown
from pipeline.gating.verdict import Verdict
from pipeline.shown.outcome import table_of
from pipeline.shown.words import safe

_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def verdict_table(verdict: Verdict) -> Table:
    """Each limit with its figure, and why it is answered so."""
    word = f"[{_COLOURS[verdict.verdict]}]{verdict.verdict.upper()}[/]"
    table = Table(title=f"Gate: {word}", title_justify="left")
    for column in ("bundle", "metric", "limit", "answer"):
        table.add_column(column, no_wrap=True)
    table.add_column("why")
    for check in verdict.checks:
        answer = f"[{_COLOURS[check.verdict]}]{check.verdict}[/]"
        words = map(safe, (verdict.name_of(check), check.metric, check.limit_words))
        table.add_row(*words, answer, safe(check.reason))
    return table


def ratio_table(ratios: Sequence[RatioShown]) -> Table:
    """Latencies over those of another bundle, a row each."""
    rows = [
        [
            ratio.bundle,
            ratio.host,
            ratio.reference,
            ratio.percentile,
            f"{ratio.estimate:.3f}",
            f"{ratio.low:.3f} to {ratio.high:.3f}",
            ratio.basis,
        ]
        for ratio in ratios
    ]
    heads = ["bundle", "host", "against", "latency", "ratio", "98 % interval", "how"]
    return table_of("Latency ÷ that of the other bundle: below 1 is faster", heads, rows)
