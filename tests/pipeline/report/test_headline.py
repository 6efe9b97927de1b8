"""The first that a report says: which bundle, how sure, and whether it can be believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy_targets.comparison import Candidate, Comparison
from deploy_targets.device.messages import Percentile
from deploy_targets.measurement import Measurement
from pipeline.report.content import ReportContent, gather
from pipeline.report.headline import headline_of
from pipeline.report.render import render_html, render_markdown
from pipeline.report.terminal import shown_of

FAST, SLOW, TEACHER = "local-onnx-int8", "local-onnx-fp32", "local-teacher-onnx-fp32"


@pytest.fixture(scope="module")
def content(road) -> ReportContent:
    assert road.said.code == 0, road.said.err
    return gather(road.run)


def timed(content: ReportContent, name: str, p50: float, suspect: str = "") -> Measurement:
    """A measurement of the run with a median of our own, within a tenth of it."""
    one = next(m for m in content.measurements if m.bundle.name == name)
    latency = replace(one.latency_ms, percentiles={"p50": Percentile(p50, 0.95 * p50, 1.05 * p50)})
    reasons = [suspect] if suspect else []
    validity = replace(one.validity, verdict="suspect" if suspect else "valid", reasons=reasons)
    return replace(one, latency_ms=latency, validity=validity)


def test_a_valid_measurement_goes_before_a_faster_one_that_is_suspect(content) -> None:
    teacher = timed(content, TEACHER, 8.0)
    valid, faster = timed(content, SLOW, 4.0), timed(content, FAST, 1.0, "busy")
    headline = headline_of([teacher, valid, faster], [], None, None)
    assert headline is not None
    assert headline.shipped is valid
    assert headline.doubts == []
    only = headline_of([teacher, faster], [], None, None)
    assert only is not None
    assert only.shipped is faster
    assert only.doubts == [f"{FAST} is suspect: busy"]


def test_a_speedup_has_its_interval_and_says_what_it_rests_on(content) -> None:
    one, teacher = timed(content, FAST, 1.0), timed(content, TEACHER, 8.0, "busy")
    headline = headline_of([teacher, one], [], None, None)
    assert headline is not None
    assert headline.speedup is not None
    # 8 (7.6 to 8.4) over 1 (0.95 to 1.05), and two processes that differ by 6.8 % anyway.
    bounds = (7.6 / 1.05 / 1.068, 8.4 / 0.95 * 1.068)
    assert (headline.speedup.low, headline.speedup.high) == pytest.approx(bounds)
    assert headline.interval == "6.78 to 9.44, not interleaved"
    assert headline.doubts == [f"{TEACHER} is suspect: busy"]


def test_turns_are_what_it_rests_on_where_there_were_some(content) -> None:
    one, teacher = timed(content, FAST, 1.0), timed(content, TEACHER, 8.0)
    rounds = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99]

    def candidate(which: Measurement, factor: float) -> Candidate:
        ms = [factor * value for value in rounds]
        return Candidate(which.bundle, which.runtime, which.latency_ms, ms, which.parity, None)

    turns = Comparison(
        host=one.host, rounds=len(rounds), fresh=True,
        candidates=[candidate(teacher, 3.0), candidate(one, 1.0)],
        seconds=1.0, started_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    headline = headline_of([teacher, one], [turns], None, None)
    assert headline is not None
    assert headline.interval == "3.00 to 3.00, interleaved"


def test_the_first_screen_of_each_report_says_what_is_in_doubt_and_how_sure_it_is(content) -> None:
    one, teacher = timed(content, FAST, 1.0, "<b>busy</b>"), timed(content, TEACHER, 8.0)
    headline = headline_of([teacher, one], [], None, None)
    shown = replace(content, headline=headline, remarks={"data": ["left out <i>3</i> files"]})
    page, summary = render_html(shown), render_markdown(shown)
    lines = [line for line in shown_of(shown) if isinstance(line, str)]
    first_screen = page[: page.index("<h2>")]
    for words in ("In doubt:", "6.78 to 9.44, not interleaved", "is suspect: &lt;b&gt;busy"):
        assert words in first_screen
    opening = summary[: summary.index("| step |")]
    assert "8.00× as fast" in opening
    assert "6.78 to 9.44, not interleaved" in opening
    assert f"**In doubt:** {FAST} is suspect: &lt;b&gt;busy&lt;/b&gt;." in opening
    assert any("8.00× as fast" in line and "6.78 to 9.44" in line for line in lines)
    assert any("in doubt" in line and "busy" in line for line in lines)
    assert "<li>data: left out &lt;i&gt;3&lt;/i&gt; files</li>" in page
    assert "- data: left out &lt;i&gt;3&lt;/i&gt; files\n" in summary


@pytest.mark.parametrize("alone", [True, False])
def test_where_the_host_told_no_accuracy_that_of_the_export_is_shown_as_such(
    content, alone: bool
) -> None:
    one = replace(timed(content, FAST, 1.0), accuracy=None)
    teacher = replace(timed(content, TEACHER, 8.0), accuracy=None)
    shown = replace(
        content, headline=headline_of([one] if alone else [one, teacher], [], None, None)
    )
    first_screen = render_html(shown).partition("<h2>")[0]
    exported = content.exported[FAST].top1["test"]
    assert f"{exported:.2f}" in first_screen
    assert "as exported; the host was not asked" in first_screen
    if alone:
        assert f"{exported:.2f} % test top-1 accuracy (as exported" in render_markdown(shown)
