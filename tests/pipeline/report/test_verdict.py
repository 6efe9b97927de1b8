"""The report's page and summary tell three answers apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy_targets.device.messages import Percentile
from deploy_targets.measurement import read_measurement, write_measurement
from pipeline.gating.gate import gate
from pipeline.gating.verdict import read_verdict, write_verdict
from pipeline.recipe.sections.gate import GateRecipe, Limit
from pipeline.report.write import report
from pipeline.run_folder.folder import RunFolder

NAME = "local-onnx-int8"


@pytest.fixture(scope="module")
def undecided(tiny_copy, list_anew) -> RunFolder:
    """A run with a limit kept, one that is suspect and one, if asked, broken."""
    run = tiny_copy("undecided")
    path = run.bench / f"{NAME}@local.json"
    one = read_measurement(path)
    percentiles = {"p50": Percentile(2.0, 1.9, 2.1)}
    latency = replace(one.latency_ms, percentiles=percentiles, min=1.9, mean=2.0, max=2.1)
    validity = replace(one.validity, verdict="suspect", reasons=["<b>busy</b> | others"])
    write_measurement(path, replace(one, latency_ms=latency, validity=validity))
    list_anew(run)
    return run


def told(run: RunFolder, **limits: Limit) -> tuple[str, str]:
    gate(run, GateRecipe(bundles=[NAME], limits=limits))
    page, summary, *_ = report(run)
    return page.read_text(), summary.read_text()


def test_what_is_inconclusive_is_so_in_the_heading_in_the_table_and_in_words(undecided) -> None:
    page, summary = told(undecided, latency_p50_ms=Limit(max=3.0), size_mb=Limit(max=5.0))
    assert '<span class="badge inconclusive">gate: inconclusive</span>' in page
    assert 'class="undecided"' in page
    assert "2.000 ?" in page
    assert "✓" in page
    assert "&lt;b&gt;busy&lt;/b&gt;" in page
    assert "<b>busy</b>" not in page
    assert "gate inconclusive" in summary.splitlines()[0]
    (row,) = (line for line in summary.splitlines() if "| latency_p50_ms |" in line)
    assert "**inconclusive**" in row
    assert "\\| others" in row


def test_a_broken_limit_is_not_taken_for_an_undecided_one(undecided) -> None:
    page, summary = told(undecided, latency_p50_ms=Limit(max=3.0), size_mb=Limit(max=0.001))
    assert '<span class="badge fail">gate: fail</span>' in page
    assert 'class="beyond"' in page
    assert 'class="undecided"' in page
    assert "**fail**" in summary


def test_a_limit_that_was_held_against_some_bundles_alone_leaves_the_other_cells_empty(
    undecided,
) -> None:
    gate(undecided, GateRecipe(limits={"size_mb": Limit(max=5.0), "top1_percent": Limit(min=1.0)}))
    verdict = read_verdict(undecided.verdict_path)
    write_verdict(undecided.verdict_path, replace(verdict, checks=verdict.checks[:-1]))
    page, *_ = report(undecided)
    assert "<td></td>" in page.read_text()
