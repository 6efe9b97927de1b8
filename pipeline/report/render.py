"""From a report's content to a page and to a summary for a pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from html import unescape
from typing import Any

from markupsafe import Markup, escape

from deploy_targets.measurement import Measurement
from foundation.places import without_folders
from foundation.words import plain
from pipeline.exporting.candidates import SAME_ANSWERS
from pipeline.exporting.reasons import limit_words
from pipeline.gating.metrics import top1_percent
from pipeline.gating.verdict import FAIL, INCONCLUSIVE, Check, Verdict
from pipeline.report.class_tables import classes_left_out, classes_table, networks_table
from pipeline.report.content import ReportContent
from pipeline.report.details import ReportDetails
from pipeline.report.front import FrontPoint, front_data, front_table
from pipeline.report.page import PageParts, basis_of, parts_of
from pipeline.report.tables import (
    Words,
    bundle_table,
    estimate_table,
    scheme_table,
    shipping_table,
    waterfall_table,
)
from pipeline.report.waterfall import usual_split
from pipeline.shown.measurements import measured_table, start_table
from pipeline.shown.pages import html_templates_of, markdown_templates_of
from pipeline.shown.pages.plots import Plot, plotting_script, script_data
from pipeline.shown.words import number, signed


def render_html(content: ReportContent, details: ReportDetails | None = None) -> str:
    """The report as one self-contained page: styles, script and data inside, nothing fetched.

    Args:
        content: the figures.
        details: what lies beside them; None shows the figures alone.
    """
    templates = html_templates_of("pipeline.report")
    templates.filters["picture"] = Markup  # a data: URL of our own making
    helpers = _helpers(content)
    caption = templates.get_template("waterfall.j2").render(content=content, **helpers)
    page = parts_of(content, details, " ".join(unescape(caption).split()))
    recipe = details.recipe if details else None
    return templates.get_template("page.html.j2").render(
        content=content,
        page=page,
        basis=basis_of(content.headline) if content.headline else "",
        doubts=_doubts(content),
        front_table=front_table(page.points),
        sections=_sections(content, page),
        left_out=details.left_out if details else [],
        recipe=preformatted(recipe) if recipe else None,
        commands=preformatted(_commands(content)),
        page_data=script_data(page_data(page.plots, page.points)),
        plotting_script=plotting_script(),
        **helpers,
    )


def page_data(plots: Sequence[Plot], points: Sequence[FrontPoint]) -> dict[str, Any]:
    """What the page's script draws, as JSON values."""
    return {"plots": {plot.id: plot.as_drawn() for plot in plots}, "front": front_data(points)}


def preformatted(text: str) -> Markup:
    """Text of several lines, in which no place of this machine stands, for a `<pre>`."""
    return escape(plain(without_folders(text)))


def _doubts(content: ReportContent) -> list[str]:
    """All that speaks against the first screen, the weightiest first."""
    of_headline = content.headline.doubts if content.headline else []
    return [*of_headline, *content.unvouched]


def _sections(content: ReportContent, page: PageParts) -> list[tuple[str, str]]:
    there = {
        ("front", "front"): page.points,
        ("steps", "step by step"): True,
        ("training", "distillation" if content.has_student else "training"): (
            content.stages or content.teacher_training
        ),
        ("classes", "classes"): content.scores,
        ("latency", "latencies"): content.measurements,
        ("operators", "where the time goes"): content.operators,
        ("sustained", "at work for long"): content.sustained,
        ("gate", "gate"): content.verdict,
        ("answers", "answers"): page.answers or page.lacking.get("answers"),
        ("bundles", "bundles"): content.exported,
        ("again", "make it again"): True,
    }
    return [section for section, is_there in there.items() if is_there]


def _commands(content: ReportContent) -> str:
    command = "run" if content.has_student else "teach"
    lines = [f"compress {command} recipe.toml --run runs/{content.name}"]
    if content.adopted:
        lines = ["# the student is from elsewhere: give the same file to `compress export`"]
    return "\n".join([*lines, f"compress report runs/{content.name} --open"])


def render_markdown(content: ReportContent, pictures: Mapping[str, str] | None = None) -> str:
    """The report as GitHub-flavoured Markdown.

    Args:
        content: the figures.
        pictures: files with plots, beside the Markdown's own, by what they show.
    """
    summary = markdown_templates_of("pipeline.report").get_template("summary.md.j2")
    text = summary.render(content=content, pictures=pictures or {}, **_helpers(content))
    return text.rstrip() + "\n"


def _helpers(content: ReportContent) -> dict[str, Any]:
    return {
        "gate": _gate(content.verdict, content.shipped),
        "limit_words": limit_words,
        "same_answers": SAME_ANSWERS,
        "networks": content.networks,
        "number": number,
        "placeless": without_folders,
        "percent": lambda share: None if share is None else 100 * share,
        "provenance": _provenance(content),
        "measured": measured_table(content.measurements),
        "started": start_table(content.measurements),
        "signed": signed,
        "tables": _tables(content),
        "classes_left_out": classes_left_out(content),
        "judged_on": usual_split(content.waterfall),
        "top1": top1_percent,
        "accuracy_of": partial(_accuracy_of, content),
    }


def _accuracy_of(content: ReportContent, measurement: Measurement) -> tuple[float | None, str]:
    """Test top-1 of a measured bundle in percent, and what that rests on where its host was not
    asked about accuracy: what was found when it was exported."""
    measured = top1_percent(measurement)
    exported = content.exported.get(measurement.bundle.name)
    found = exported.top1.get("test") if exported else None
    if measured is not None or found is None:
        return measured, ""
    return found, "as exported; the host was not asked"


def _tables(content: ReportContent) -> dict[str, Words | None]:
    return {
        "waterfall": waterfall_table(content.waterfall, content.shipped),
        "shipping": shipping_table(content.shipping) if content.shipping else None,
        "bundles": bundle_table(content) if content.exported else None,
        "schemes": scheme_table(content),
        "estimates": estimate_table(content),
        "networks": networks_table(content),
        "classes": classes_table(content),
    }


def _gate(verdict: Verdict | None, shipped: str | None) -> dict[str, Any]:
    """The verdict as a table: a row a limit, a column a judged bundle; and what fails of what would
    ship."""
    checks = verdict.checks if verdict else []
    names = [verdict.name_of(check) for check in checks] if verdict else []
    rows: dict[str, dict[str, Check]] = {}
    for check, name in zip(checks, names, strict=True):
        rows.setdefault(f"{check.metric} {check.limit_words}", {})[name] = check
    return {
        "rows": rows,
        "judged": list(dict.fromkeys(names)),
        "failed": [check for check in checks if check.verdict == FAIL and check.bundle == shipped],
        "undecided": [check for check in checks if check.verdict == INCONCLUSIVE],
    }


def _provenance(content: ReportContent) -> dict[str, str]:
    record = content.record
    versions = [f"{name} {version}" for name, version in record["versions"].items() if version]
    runtimes = {
        f"{runtime.name} {runtime.version}, threads {runtime.threads}, "
        f"precision hint {runtime.precision_hint}"
        for runtime in (measurement.runtime for measurement in content.measurements)
    }
    hosts = {measurement.host.name: measurement.host.facts for measurement in content.measurements}
    facts = {
        "made": f"{record['created_at']}, seed {record['seed']}, commit {record['commit'] or '–'}",
        "trained on": f"{record['platform']}, Python {record['python']}",
        "versions": ", ".join(versions),
        "classes": ", ".join(content.data.classes),
    }
    if runtimes:
        facts["measured with"] = "; ".join(sorted(runtimes))
    if content.data.skipped:
        facts["images passed over"] = ", ".join(content.data.skipped)
    for name, host in hosts.items():
        facts_of_host = {
            "cpu": host.cpu,
            "cores": host.logical_cores,
            "memory": f"{host.memory_mb} MiB" if host.memory_mb else None,
            "features": ", ".join(host.features or []),
            "governor": host.governor,
            "temperature": host.temperature_c,
            "load": host.load_average,
        }
        words = (f"{key} {'not available' if v is None else v}" for key, v in facts_of_host.items())
        facts[f"host {name}"] = "; ".join(words)
    return facts
