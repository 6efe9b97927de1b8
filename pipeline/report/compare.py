"""Several runs side by side: what differs between them first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.files import read_toml
from foundation.places import without_folders
from pipeline.gating.metrics import top1_percent
from pipeline.report.content import ReportContent
from pipeline.report.front import FrontPoint, front_data, front_table, placed, point_of
from pipeline.report.training_plots import compared_curves
from pipeline.run_folder.folder import RunFolder
from pipeline.shown.pages import html_templates_of, markdown_templates_of
from pipeline.shown.pages.plots import Plot, plotting_script, script_data
from pipeline.shown.words import number, signed

NOTHING = "–"


@dataclass(frozen=True)
class SideBySide:
    """A table with a column a run.

    Attributes:
        runs: names, in order.
        differing, alike: rows: what it is, then each run's word.
    """

    runs: list[str]
    differing: list[list[str]]
    alike: list[list[str]]


def render_comparison(contents: Sequence[ReportContent], asked: Sequence[dict[str, str]]) -> str:
    """The page, self-contained."""
    names = run_names(contents)
    points = compared_points(contents, names)
    curves = compared_curves(contents, names)
    plots: list[Plot] = [curves] if curves else []
    page = html_templates_of("pipeline.report").get_template("compare.html.j2")
    return page.render(
        **_shown(contents, asked),
        names=names,
        plots=plots,
        points=points,
        front_table=front_table(points),
        page_data=script_data(
            {"plots": {plot.id: plot.as_drawn() for plot in plots}, "front": front_data(points)}
        ),
        plotting_script=plotting_script(),
    )


def render_comparison_markdown(
    contents: Sequence[ReportContent], asked: Sequence[dict[str, str]]
) -> str:
    """The same as GitHub-flavoured Markdown, tables only."""
    summary = markdown_templates_of("pipeline.report").get_template("compare.md.j2")
    return summary.render(**_shown(contents, asked)).rstrip() + "\n"


def run_names(contents: Sequence[ReportContent]) -> list[str]:
    """What each run is called: its name, numbered where another has the same."""
    names = [content.name for content in contents]
    return [
        f"{name} ({place + 1})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def compared_points(contents: Sequence[ReportContent], names: Sequence[str]) -> list[FrontPoint]:
    """The bundles of all runs on one front; those that each run ships are marked."""
    return placed(
        [
            point_of(measurement, run=name, shipped=content.shipped)
            for content, name in zip(contents, names, strict=True)
            for measurement in content.plain
        ]
    )


def _shown(contents: Sequence[ReportContent], asked: Sequence[dict[str, str]]) -> dict[str, Any]:
    names = run_names(contents)
    return {
        "results": side_by_side(names, [_results(content) for content in contents]),
        "recipes": side_by_side(names, asked),
        "doubts": [
            f"{name}: {doubt}"
            for name, content in zip(names, contents, strict=True)
            for doubt in [
                *(content.headline.doubts if content.headline else []),
                *content.unvouched,
            ]
        ],
    }


def side_by_side(names: Sequence[str], columns: Sequence[dict[str, str]]) -> SideBySide:
    """Rows of all that any column has, those that differ apart from those that do not."""
    keys = dict.fromkeys(key for column in columns for key in column)
    rows = [[key, *(column.get(key, NOTHING) for column in columns)] for key in keys]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    return SideBySide(list(names), differing, [row for row in rows if row not in differing])


def _results(content: ReportContent) -> dict[str, str]:
    """A run's results in words, by what they are."""
    results = {"ships": content.shipped or NOTHING}
    head = content.headline
    if head is not None:
        shipped = head.shipped
        speedup = None if head.speedup is None else head.speedup.value
        results |= {
            "times faster": _with(number(speedup, 2), head.interval),
            "times smaller": number(head.shrink, 1),
            "accuracy, points": _with(signed(head.change), head.change_interval),
            "test top-1, %": number(top1_percent(shipped), 2),
            "p50, ms": number(shipped.latency_ms.p50, 3),
            "p95, ms": number(shipped.latency_ms.p95, 3),
            "model, kB": number(shipped.bundle.model_bytes / 1e3, 0),
            "measurement": shipped.validity.verdict,
            "against": head.baseline.bundle.name if head.baseline else NOTHING,
            "measured on": f"{shipped.host.name}, {shipped.host.facts.cpu or 'CPU not told'}",
        }
    results["gate"] = content.verdict.verdict if content.verdict else "not asked"
    for role, network in content.networks.items():
        top1 = (network.get("test") or {}).get("top1")
        results[f"{role}"] = str(network["model"])
        results[f"{role}, parameters"] = f"{network['parameters']:,}"
        results[f"{role}, test top-1 %"] = number(None if top1 is None else 100 * top1, 2)
    results |= {"data": content.data.name, "seed": str(content.record["seed"])}
    return results | {"commit": str(content.record["commit"] or NOTHING)}


def _with(words: str, interval: str) -> str:
    return f"{words} ({interval})" if interval else words


def asked_of(run: RunFolder) -> dict[str, str]:
    """A recipe's keys by their places, each value in words, without places on this machine.

    Raises:
        RecipeError: when the recipe cannot be read.
    """
    if not run.recipe_path.is_file():
        return {}
    content, _ = read_toml(run.recipe_path, "recipe")
    return {place: without_folders(words) for place, words in _leaves(content)}


def _leaves(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Every value of a table, by its place: "stages.0.epochs"."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}.{number}")
    else:
        yield place, str(value)
