"""From a report's content to a page and to a summary for a pull request."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from foundation.places import without_folders
from pipeline.exporting.reasons import limit_words
from pipeline.gating.metrics import top1_percent
from pipeline.gating.verdict import INCONCLUSIVE, Check, Verdict
from pipeline.report import figures
from pipeline.report.content import ReportContent
from pipeline.report.tables import (
    Words,
    bundle_table,
    estimate_table,
    points,
    scheme_table,
    shipping_table,
    waterfall_table,
)
from pipeline.report.waterfall import usual_split
from pipeline.report.waterfall_figure import waterfall
from pipeline.shown.measurements import measured_table, start_table
from pipeline.shown.pages import html_templates_of, markdown_templates_of
from pipeline.shown.terminal import number


def render_html(content: ReportContent) -> str:
    """The report as one self-contained page: styles and plots inside, nothing fetched."""
    drawn = {name: Markup(svg) for name, svg in _figures(content).items()}
    page = html_templates_of("pipeline.report").get_template("page.html.j2")
    return page.render(content=content, figures=drawn, **_helpers(content))


def render_markdown(content: ReportContent) -> str:
    """The report as GitHub-flavoured Markdown, tables only."""
    summary = markdown_templates_of("pipeline.report").get_template("summary.md.j2")
    return summary.render(content=content, **_helpers(content)).rstrip() + "\n"


def _helpers(content: ReportContent) -> dict[str, Any]:
    return {
        "gate": _gate(content.verdict),
        "limit_words": limit_words,
        "networks": content.networks,
        "number": number,
        "placeless": without_folders,
        "points": points,
        "percent": lambda share: None if share is None else 100 * share,
        "provenance": _provenance(content),
        "measured": measured_table(content.measurements),
        "started": start_table(content.measurements),
        "signed": lambda drop: points(None if drop is None else -drop),
        "tables": _tables(content),
        "judged_on": usual_split(content.waterfall),
        "top1": top1_percent,
    }


def _tables(content: ReportContent) -> dict[str, Words | None]:
    return {
        "waterfall": waterfall_table(content.waterfall, content.shipped),
        "shipping": shipping_table(content.shipping) if content.shipping else None,
        "bundles": bundle_table(content) if content.exported else None,
        "schemes": scheme_table(content),
        "estimates": estimate_table(content),
    }


def _gate(verdict: Verdict | None) -> dict[str, Any]:
    """The verdict as a table: a row a limit, a column a judged bundle."""
    checks = verdict.checks if verdict else []
    names = [verdict.name_of(check) for check in checks] if verdict else []
    rows: dict[str, dict[str, Check]] = {}
    for check, name in zip(checks, names, strict=True):
        rows.setdefault(f"{check.metric} {check.limit_words}", {})[name] = check
    return {
        "rows": rows,
        "judged": list(dict.fromkeys(names)),
        "undecided": [check for check in checks if check.verdict == INCONCLUSIVE],
    }


def _figures(content: ReportContent) -> dict[str, str]:
    teacher = content.networks.get("teacher", {}).get("validation", {}).get("top1")
    shown = content.plain
    return {
        "waterfall": waterfall(content.waterfall, content.shipped, "waterfall"),
        "latency": figures.accuracy_against(
            shown, lambda m: m.latency_ms.p50, "median latency of one image, ms", "latency"
        ),
        "size": figures.accuracy_against(
            shown, lambda m: m.bundle.model_bytes / 1e3, "model size, kB", "size"
        ),
        "bars": figures.latency_bars(shown, "bars"),
        "validation": figures.validation_curve(
            content.stages, content.alone_training, teacher, "validation"
        ),
        "losses": figures.loss_curves(content.stages, "losses"),
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
