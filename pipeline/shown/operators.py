"""Where the time goes, as tables: operators, and kinds of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from deploy_targets.device.operator_times import ProfiledOperator
from deploy_targets.operator_profile import FAMILIES, KindTime, OperatorProfile
from pipeline.shown.words import safe

OUTSIDE = "not in an operator"
_MOST = 12
_DISTURBED, _FASTER = 1.5, 0.9
_RESOLUTION_MS = 1e-3


def operator_tables(profile: OperatorProfile) -> Iterator[Table | str]:
    """The operators that take most, then all kinds, then what to know of these figures."""
    title = safe(f"Where the time goes: {profile.bundle.name} on {profile.host.name}")
    if profile.profiled.untold is not None:
        yield f"{title}: {escape(profile.profiled.untold)}"
        return
    yield _table(title, OPERATOR_HEADS, operator_rows(profile, _MOST))
    yield _table("By kind", KIND_HEADS, kind_rows(profile))
    yield from map(escape, notes_on(profile))


OPERATOR_HEADS = ("operator", "kind", "ran in", "kernel", "ms", "share")
KIND_HEADS = ("kind", "operators", "ran in", "ms", "share")


def operator_rows(profile: OperatorProfile, most: int) -> list[list[str]]:
    """A row for each of the operators that take most, then for the others, for what is in none,
    and for the whole."""
    ordered = sorted(profile.profiled.operators, key=lambda operator: -operator.ms)
    shown, others = ordered[:most], ordered[most:]
    rows = [_operator_row(profile, operator) for operator in shown]
    if others:
        ms = sum(operator.ms for operator in others)
        rows.append([f"{len(others)} others", "", "", "", *_time(profile, ms)])
    return [*rows, *(_padded(row, 4) for row in _last_rows(profile))]


def kind_rows(profile: OperatorProfile) -> list[list[str]]:
    """A row for each kind of operator, then for what is in none, and for the whole."""
    rows = [_kind_row(profile, kind) for kind in profile.by_kind()]
    return [*rows, *(_padded(row, 3) for row in _last_rows(profile))]


def notes_on(profile: OperatorProfile) -> list[str]:
    """What to know of a profile's figures, a line each."""
    profiled = profile.profiled
    if profiled.untold is not None:
        return [profiled.untold]
    assert profiled.whole_ms is not None and profiled.whole_median_ms is not None
    assert profiled.slowdown is not None
    rounds = "" if profiled.rounds == 1 else f", the least disturbed of {profiled.rounds} rounds"
    merged = (
        ""
        if profiled.not_run is None
        else f" ({profiled.not_run} others took none of their own: merged into these, or left out)"
    )
    lines = [
        f"means of {profiled.runs} inferences{rounds}, after {profiled.warmup_n} that do not "
        f"count; operators are those of the graph that {profiled.runtime.name} runs, after it "
        f"fused and converted{merged}",
        f"profiled, an inference takes {profiled.slowdown:.2f} times as long "
        f"({profiled.whole_median_ms:.4g} ms instead of {profiled.unprofiled_ms:.4g}): "
        "go by the shares, and take latencies from the measurement",
    ]
    if profiled.whole_ms > _DISTURBED * profiled.whole_median_ms or profiled.slowdown < _FASTER:
        lines.append(
            "disturbed: other processes took the CPU meanwhile, for these inferences took "
            f"{profiled.whole_ms:.4g} ms in the mean, the faster half of all profiled ones "
            f"{profiled.whole_median_ms:.4g} and of the others {profiled.unprofiled_ms:.4g}; "
            "profile again on a quiet machine"
        )
    cut = _RESOLUTION_MS * len(profiled.operators)
    if cut > 0.1 * profiled.whole_ms:
        lines.append(
            f"{profiled.runtime.name} counts whole microseconds: of {len(profiled.operators)} "
            f"operators, up to {cut:.3g} ms of the {profiled.whole_ms:.3g} may be lost"
        )
    return [*lines, *roofline_lines(profile)]


def roofline_lines(profile: OperatorProfile) -> list[str]:
    """Families of operators beside the least that the target's roofline allows them."""
    if profile.roofline is None:
        return []
    taken, least = profile.by_family(), profile.roofline.ms
    parts = [
        f"{name} {least[name]:.3g} ms, taken {taken[name]:.3g}"
        for name in FAMILIES
        if least.get(name) or taken[name]
    ]
    threads = f"{profile.roofline.threads} thread{'' if profile.roofline.threads == 1 else 's'}"
    return [
        f"the roofline of target {profile.roofline.target} at {threads} (computed, the least time "
        f"at its peak rates): {'; '.join(parts)}"
    ]


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, justify="right" if head in {"ms", "share", "operators"} else "left")
    for row in rows:
        table.add_row(*map(safe, row))
    return table


def _operator_row(profile: OperatorProfile, operator: ProfiledOperator) -> list[str]:
    return [
        operator.name,
        operator.kind,
        operator.precision or "–",
        operator.implementation or "–",
        *_time(profile, operator.ms),
    ]


def _kind_row(profile: OperatorProfile, kind: KindTime) -> list[str]:
    formats = ", ".join(
        name if len(kind.precisions) == 1 and count == kind.count else f"{name} × {count}"
        for name, count in kind.precisions.items()
    )
    return [kind.kind, str(kind.count), formats or "–", *_time(profile, kind.ms)]


def _last_rows(profile: OperatorProfile) -> list[list[str]]:
    """Rows that make the times add up: a first cell, and the two last."""
    profiled = profile.profiled
    return [
        [OUTSIDE, *_time(profile, profiled.outside_ms)],
        ["the whole, profiled", *_time(profile, profiled.whole_ms or 0.0)],
    ]


def _padded(row: list[str], words: int) -> list[str]:
    return [row[0], *[""] * (words - 1), *row[1:]]


def _time(profile: OperatorProfile, ms: float) -> list[str]:
    return [f"{ms:.4f}".replace("-", "−"), f"{profile.share_of(ms):.1%}".replace("-", "−")]
