"""From a study's findings to a table, a page and a summary."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from rich.table import Table

from pipeline.shown.pages import html_templates_of, markdown_templates_of
from pipeline.shown.terminal import number
from pipeline.study import figures
from pipeline.study.arms import UNANCHORED
from pipeline.study.findings import ArmFindings, Findings
from pipeline.study.statistics import PairedComparison, Spread, spread_of

_SIDE_BY_SIDE = (f"smskd-{UNANCHORED}", "smskd-tcp")


def columns(findings: Findings) -> list[str]:
    """The heads of the study's table."""
    return [
        "arm",
        *([] if findings.has_one_budget else ["epochs"]),
        "validation top-1 %",
        "test top-1 %",
        f"against {findings.baseline}",
        "p",
        "against alone",
        f"s per epoch ÷ {findings.baseline}",
    ]


def rows(findings: Findings) -> list[list[str]]:
    """The study's table as words, a row an arm."""
    return [
        [
            result.arm.name,
            *([] if findings.has_one_budget else [str(result.arm.epochs)]),
            _spread(result.validation),
            _spread(result.test),
            _points(result.against_baseline),
            _p(result.against_baseline),
            _points(result.against_alone),
            number(result.relative_time, 2),
        ]
        for result in findings.arms
    ]


def findings_table(findings: Findings) -> Table:
    """For the terminal."""
    seeds = len(findings.seeds)
    title = f"{findings.recipe.name}: mean ± sd over {seeds} seed{'s' if seeds > 1 else ''}"
    table = Table(title=title, title_justify="left")
    heads = columns(findings)
    table.add_column(heads[0], no_wrap=True)
    for head in heads[1:]:
        table.add_column(head, justify="right")
    for row in rows(findings):
        table.add_row(*row)
    return table


def render_html(findings: Findings) -> str:
    """The report as one self-contained page: styles and plots inside, nothing fetched."""
    drawn = {name: Markup(svg) for name, svg in _figures(findings).items()}
    page = html_templates_of("pipeline.study").get_template("page.html.j2")
    return page.render(figures=drawn, **_facts(findings))


def render_markdown(findings: Findings) -> str:
    """The report as GitHub-flavoured Markdown."""
    summary = markdown_templates_of("pipeline.study").get_template("summary.md.j2")
    return summary.render(**_facts(findings)).rstrip() + "\n"


def _facts(findings: Findings) -> dict[str, Any]:
    return {
        "findings": findings,
        "columns": columns(findings),
        "rows": rows(findings),
        "budget": _budget(findings),
        "teacher_test": _spread(_teachers(findings)),
        "seeds": ", ".join(map(str, findings.seeds)),
    }


def _budget(findings: Findings) -> str:
    """What each arm may spend, as the beginning of a sentence."""
    if findings.has_one_budget:
        return f"Every arm has {findings.budget} epochs,"
    return (
        "Each stage has a full schedule of its own, and arms of one schedule are shown with the "
        f"epochs of one stage and with those of all, {findings.budget}: the table says how many "
        "epochs an arm has. All have"
    )


def _figures(findings: Findings) -> dict[str, str]:
    arms = findings.arms
    compared = [result for result in arms if result.arm.name in _SIDE_BY_SIDE] or _staged(arms)[:2]
    teacher = _teachers(findings).mean
    return {
        "ablation": figures.ablation(arms, teacher, findings.baseline),
        "curves": figures.learning_curves(arms),
        "retention": figures.retention_maps(compared),
        "waterfall": figures.waterfalls(compared),
    }


def _staged(arms: list[ArmFindings]) -> list[ArmFindings]:
    return [result for result in arms if result.retention]


def _teachers(findings: Findings) -> Spread:
    return spread_of([top1["test"] for top1 in findings.teachers.values()])


def _spread(spread: Spread) -> str:
    mean = f"{100 * spread.mean:.2f}"
    return mean if spread.sd is None else f"{mean} ± {100 * spread.sd:.2f}"


def _points(comparison: PairedComparison | None) -> str:
    if comparison is None:
        return "–"
    return f"{100 * comparison.difference:+.2f}".replace("-", "−")


def _p(comparison: PairedComparison | None) -> str:
    return "–" if comparison is None or comparison.p is None else f"{comparison.p:.3g}"
