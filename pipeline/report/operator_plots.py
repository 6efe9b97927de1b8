"""Plots of where the time goes: the operators that take most, kinds of them, and the roofline."""

from __future__ import annotations

from collections.abc import Sequence

from deploy_targets.operator_profile import FAMILIES, OperatorProfile
from pipeline.shown.operators import OUTSIDE, notes_on, roofline_lines
from pipeline.shown.pages.plots import Axis, DataTable, Plot, PlotSeries, Value

_MOST = 25
_ROW_PX, _EDGES_PX = 22, 96


def operator_plots(profiles: Sequence[OperatorProfile]) -> list[Plot]:
    """Bars of the operators and of their kinds, and where there is a roofline what it allows."""
    told = [profile for profile in profiles if profile.profiled.untold is None]
    return [
        plot
        for place, profile in enumerate(told, start=1)
        for plot in (
            _by_operator(place, profile),
            _by_kind(place, profile),
            *_beside_roofline(place, profile),
        )
    ]


def untold_lines(profiles: Sequence[OperatorProfile]) -> list[str]:
    """A line for each profile that has none, with the reason."""
    return [
        f"{profile.bundle.name} on {profile.host.name}: {profile.profiled.untold}."
        for profile in profiles
        if profile.profiled.untold is not None
    ]


def _by_operator(place: int, profile: OperatorProfile) -> Plot:
    ordered = sorted(profile.profiled.operators, key=lambda operator: -operator.ms)
    shown, others = ordered[:_MOST], ordered[_MOST:]
    names = [f"{operator.name} ({operator.kind})" for operator in shown]
    times = [operator.ms for operator in shown]
    if others:
        names.append(f"{len(others)} others")
        times.append(sum(operator.ms for operator in others))
    names.append(OUTSIDE)
    times.append(profile.profiled.outside_ms)
    rows: list[list[Value]] = [
        [o.name, o.kind, o.precision, o.implementation, o.ms, 100 * profile.share_of(o.ms)]
        for o in ordered
    ]
    outside = profile.profiled.outside_ms
    rows.append([OUTSIDE, None, None, None, outside, 100 * profile.share_of(outside)])
    return Plot(
        f"operators-{place}", f"By operator: {_title(profile)}",
        f"{'. '.join(_first_up(line) for line in _figures_of(profile))}.",
        Axis("ms of a profiled inference", low=0), Axis("", categories=names),
        [PlotSeries("ms", _bars(times), "bar")],
        DataTable(["operator", "kind", "ran in", "kernel", "ms", "share, %"], rows),
        height=_height(names),
    )  # fmt: skip


def _by_kind(place: int, profile: OperatorProfile) -> Plot:
    kinds, outside = profile.by_kind(), profile.profiled.outside_ms
    rows: list[list[Value]] = [
        [kind.kind, kind.count, ", ".join(kind.precisions) or None, kind.ms, 100 * kind.share]
        for kind in kinds
    ]
    rows.append([OUTSIDE, None, None, outside, 100 * profile.share_of(outside)])
    names = [*(kind.kind for kind in kinds), OUTSIDE]
    return Plot(
        f"operator-kinds-{place}", f"By kind: {_title(profile)}",
        "All operators of a kind together; with what is in no operator they are the whole.",
        Axis("ms of a profiled inference", low=0), Axis("", categories=names),
        [PlotSeries("ms", _bars([*(kind.ms for kind in kinds), outside]), "bar")],
        DataTable(["kind", "operators", "ran in", "ms", "share, %"], rows), height=_height(names),
    )  # fmt: skip


def _beside_roofline(place: int, profile: OperatorProfile) -> list[Plot]:
    """Families of kinds, for a graph has other words for its operators than a runtime."""
    if profile.roofline is None:
        return []
    taken, least = profile.by_family(), profile.roofline.ms
    rows: list[list[Value]] = [[name, taken[name], least.get(name, 0.0)] for name in FAMILIES]
    series = [
        PlotSeries("profiled", _bars([taken[name] for name in FAMILIES]), "bar"),
        PlotSeries(
            "roofline, computed",
            _bars([least.get(name, 0.0) for name in FAMILIES]),
            "bar",
            colour="quiet",
        ),
    ]
    caption = ". ".join(_first_up(line) for line in roofline_lines(profile))
    return [
        Plot(
            f"operator-roofline-{place}", f"Beside the roofline: {_title(profile)}", f"{caption}.",
            Axis("ms", low=0), Axis("", categories=list(FAMILIES)), series,
            DataTable(["family", "profiled, ms", "roofline, ms"], rows),
            height=_EDGES_PX + 2 * _ROW_PX * len(FAMILIES),
        )
    ]  # fmt: skip


def _figures_of(profile: OperatorProfile) -> list[str]:
    """What to know of the figures, but for the roofline, which stands with the kinds."""
    roofline = roofline_lines(profile)
    return [line for line in notes_on(profile) if line not in roofline]


def _bars(times: Sequence[float]) -> list[list[Value]]:
    return [[ms, place] for place, ms in enumerate(times)]


def _height(names: Sequence[str]) -> int:
    return _EDGES_PX + _ROW_PX * len(names)


def _first_up(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}"


def _title(profile: OperatorProfile) -> str:
    return f"{profile.bundle.name} on {profile.host.name}, {profile.profiled.runtime.name}"
