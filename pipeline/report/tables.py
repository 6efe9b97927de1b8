"""The report's tables as words, alike in the page, in the Markdown and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.exporting.candidates import SAME_ANSWERS
from pipeline.exporting.choice import Shipping, ShippingCandidate
from pipeline.report.bundles import Exported
from pipeline.report.content import ReportContent
from pipeline.report.waterfall import WaterfallStep, is_marked
from pipeline.shown.estimates import estimate_rows
from pipeline.shown.measurements import ran_in
from pipeline.shown.words import number, signed

_KEPT = "kept in higher precision"
NOTHING, TEST_MARK = "–", " *"
_PROSE = frozenset(
    {
        "ran in",
        "than",
        "what it is",
        "quantised",
        "why so",
        "target",
        "runtime × threads",
        "rests on",
        _KEPT,
    }
)


@dataclass(frozen=True)
class Words:
    """A table of words.

    Attributes:
        heads: of the columns; the first column names the row.
        rows: as long as `heads`.
        marked: the name of the row that matters most.
        quiet: names of rows that are there for comparison.
    """

    heads: list[str]
    rows: list[list[str]]
    marked: str | None = None
    quiet: frozenset[str] = frozenset()

    @property
    def prose(self) -> list[bool]:
        """Which columns are words and stand to the left: the first, and those that say so."""
        return [place == 0 or head in _PROSE for place, head in enumerate(self.heads)]

    @property
    def starred(self) -> bool:
        """Whether a cell has the mark of what was measured on other images than the rest."""
        return any(cell.endswith(TEST_MARK) for row in self.rows for cell in row)


def waterfall_table(steps: Sequence[WaterfallStep], shipped: str | None) -> Words:
    """A row a step: where it stands, and what changed since the step it comes from."""
    timed = any(step.latency_ms is not None for step in steps)
    heads = ["step", "top-1 %", "change", "size kB", "times smaller"]
    heads += ["p50 ms", "times faster"] if timed else []
    return Words(
        heads=[*heads, "than", "what it is"],
        rows=[_step_row(step, timed=timed, marked=is_marked(step, steps)) for step in steps],
        marked=next((step.name for step in steps if shipped and step.bundle == shipped), None),
        quiet=frozenset({"teacher", "alone"}),
    )


def shipping_table(shipping: Shipping) -> Words:
    """A row a candidate, with what the choice was made by."""
    metric, told = shipping.candidates[0].metric, "validation top-1 %"
    lost = f"{'points' if metric is None else metric} below FP32 (95 %)"
    if metric == SAME_ANSWERS:
        told, lost = "named as FP32 names it %", "named otherwise % (95 %)"
    heads = [
        "bundle", "ran in", told, lost, "size kB", "p50 ms",
        "times as fast as FP32 (95 %)", "within the limit", _KEPT,
    ]  # fmt: skip
    rows = [_candidate_row(candidate) for candidate in shipping.candidates]
    return Words(heads, rows, marked=shipping.chosen)


def bundle_table(content: ReportContent) -> Words:
    """A row a bundle: what exporting it cost, and what it ran in."""
    bundles = content.exported.values()
    heads = [
        "bundle", "ran in", "test top-1 % (95 %)", "against torch", "largest logit error, relative",
        "same class",
    ]  # fmt: skip
    return Words(
        heads=heads,
        rows=[_bundle_row(bundle, content) for bundle in bundles],
        marked=content.shipped,
        quiet=frozenset(
            bundle.manifest.name for bundle in bundles if bundle.manifest.role == "teacher"
        ),
    )


def estimate_table(content: ReportContent) -> Words | None:
    """A row an estimate, apart from what was measured; None where there is none."""
    return Words(*estimate_rows(content.estimates)) if content.estimates else None


def scheme_table(content: ReportContent) -> Words | None:
    """A row a quantised bundle: how, why, and what was left out; None where there is none."""
    rows = [
        [
            bundle.manifest.name,
            bundle.scheme,
            str(bundle.quantization.get("reason") or NOTHING),
            ", ".join(bundle.operators_kept) or "none",
        ]
        for bundle in content.exported.values()
        if bundle.quantization
    ]
    heads = ["bundle", "quantised", "why so", _KEPT]
    return Words(heads, rows) if rows else None


def _step_row(step: WaterfallStep, *, timed: bool, marked: bool) -> list[str]:
    mark = TEST_MARK if marked else ""
    row = [
        step.name,
        f"{number(step.reached, 2)}{mark}",
        signed(step.change),
        number(_kilo(step.size_bytes), 0),
        number(step.shrink, 2),
    ]
    row += [number(step.latency_ms, 3), number(step.speedup, 2)] if timed else []
    return [*row, step.source.name if step.source else "", step.description]


def _candidate_row(candidate: ShippingCandidate) -> list[str]:
    ratio = candidate.ratio
    return [
        candidate.bundle,
        candidate.executed or NOTHING,
        number(100 * candidate.validation_top1, 2),
        _with_interval(candidate.drop, candidate.drop_low, candidate.drop_high),
        number(_kilo(candidate.model_bytes), 0),
        number(candidate.p50_ms, 3),
        _with_interval(ratio.estimate, ratio.low, ratio.high) if ratio else NOTHING,
        "yes" if candidate.meets_limit else "no",
        _counted(candidate.excluded),
    ]


def _bundle_row(bundle: Exported, content: ReportContent) -> list[str]:
    manifest, parity = bundle.manifest, bundle.manifest.parity
    test = (content.networks.get(manifest.role, {}).get("test") or {}).get("top1")
    exported, error = bundle.top1.get("test"), parity.get("relative_error")
    interval = f" ({bundle.interval[0]:.2f} to {bundle.interval[1]:.2f})" if bundle.interval else ""
    # Of lower precision, images without labels are more than the probe's.
    compared = parity.get("unlabelled") or parity
    agreement = compared.get("top1_agreement")
    return [
        manifest.name,
        _executed(bundle),
        f"{number(exported, 2)}{interval}",
        signed(None if test is None or exported is None else exported - 100 * test),
        NOTHING if error is None else f"{error:.1e}",
        NOTHING if agreement is None else f"{100 * agreement:.1f} % of {compared.get('n')}",
    ]


def _executed(bundle: Exported) -> str:
    by_host = {host: ran_in(executed) for host, executed in bundle.executed.items()}
    if len(set(by_host.values())) > 1:
        return "; ".join(f"{words} on {host}" for host, words in by_host.items())
    return next(iter(by_host.values()), NOTHING)


def _with_interval(value: float, low: float, high: float) -> str:
    if low == high:
        return _plain(value)
    return f"{_plain(value)} ({_plain(low)} to {_plain(high)})"


def _plain(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _counted(operators: Sequence[str]) -> str:
    count = len(operators)
    return f"{count} operator{'' if count == 1 else 's'}" if count else "none"


def _kilo(count: int | None) -> float | None:
    return None if count is None else count / 1e3
