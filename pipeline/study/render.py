"""From a study's findings to a table, a page and a summary."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from rich.table import Table

from pipeline.shown.pages import html_templates_of, markdown_templates_of
from pipeline.shown.words import number
from pipeline.study import figures
from pipeline.study.arms import UNANCHORED
from pipeline.study.findings import ArmFindings, Findings
from pipeline.study.planned import PlannedComparison
from pipeline.study.statistics import PairedComparison, Spread, spread_of

_SIDE_BY_SIDE = (f"smskd-{UNANCHORED}", "smskd-tcp")


def columns(findings: Findings) -> list[str]:
    """The heads of the study's table."""
    return [
        "arm",
        *([] if findings.has_one_budget else ["epochs"]),
        *([] if findings.has_all_seeds else ["seeds"]),
        "validation top-1 %",
        "test top-1 %",
        f"against {findings.baseline}",
        "p",
        "against alone",
        f"s per epoch ÷ {findings.baseline}",
        f"s in all ÷ {findings.baseline}",
    ]


def rows(findings: Findings) -> list[list[str]]:
    """The study's table as words, a row an arm."""
    return [
        [
            result.arm.name,
            *([] if findings.has_one_budget else [str(result.arm.epochs)]),
            *([] if findings.has_all_seeds else [str(len(result.runs))]),
            _spread(result.validation),
            _spread(result.test),
            _points(result.against_baseline),
            _p(result.against_baseline.p if result.against_baseline else None),
            _points(result.against_alone),
            number(result.relative_time, 2),
            number(result.relative_compute, 2),
        ]
        for result in findings.arms
    ]


def findings_table(findings: Findings) -> Table:
    """For the terminal."""
    seeds = len(findings.seeds)
    title = f"{findings.recipe.name}: mean ± sd over {seeds} seed{'s' if seeds > 1 else ''}"
    return _figures_table(title, columns(findings), rows(findings))


def planned_columns(findings: Findings) -> list[str]:
    """The heads of the table of planned comparisons."""
    return [
        f"{findings.planned[0].arm} against",
        "difference (95 %)",
        "p",
        "p, Holm",
        "d_z",
        "seeds",
    ]


def planned_rows(findings: Findings) -> list[list[str]]:
    """The planned comparisons as words, a row each."""
    return [
        [
            one.against if one.against == one.planned else f"{one.against} ({one.planned})",
            _interval(one),
            _p(one.p),
            _p(one.p_holm),
            number(one.effect, 2).replace("-", "−"),
            str(one.n),
        ]
        for one in findings.planned
    ]


def planned_table(findings: Findings) -> Table | None:
    """The planned comparisons, for the terminal; None where there are none."""
    if not findings.planned:
        return None
    title = "planned comparisons, points of test top-1"
    return _figures_table(title, planned_columns(findings), planned_rows(findings))


def _figures_table(title: str, heads: list[str], rows: list[list[str]]) -> Table:
    """Names on the left, in one line each, and figures on the right."""
    table = Table(title=title, title_justify="left")
    table.add_column(heads[0], no_wrap=True)
    for head in heads[1:]:
        table.add_column(head, justify="right")
    for row in rows:
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
        "planned_columns": planned_columns(findings) if findings.planned else [],
        "planned_rows": planned_rows(findings),
        "budget": _budget(findings),
        "teacher_test": _spread(_teachers(findings)),
        "seeds": ", ".join(map(str, findings.seeds)),
    }


def _budget(findings: Findings) -> str:
    """What each arm may spend, as the beginning of a sentence."""
    if findings.has_one_budget:
        return f"Every arm has {findings.budget} epochs,"
    if findings.recipe.study.budget == "total":
        return (
            f"An arm has {findings.budget} epochs, and one of equal compute as many more as the "
            "stages' references cost: the table says how many. All have"
        )
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


def _interval(comparison: PlannedComparison) -> str:
    words = f"{100 * comparison.difference:+.2f}"
    if comparison.low is not None and comparison.high is not None:
        words += f" ({100 * comparison.low:+.2f} to {100 * comparison.high:+.2f})"
    return words.replace("-", "−")


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.3g}"
