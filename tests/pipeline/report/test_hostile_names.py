"""Names of other people's making, in the page and in the summary: read as text and no more."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from pipeline.report.content import ReportContent, gather
from pipeline.report.render import render_html, render_markdown

HOSTILE = (
    'a|b ![x](http://example.org/a.png) <img src=x onerror=y> `c` $x$ [red] "q"\n# h\x1b[31m\u202e'
)


@pytest.fixture(scope="module")
def named(road) -> ReportContent:
    """The tiny run's content, where whatever can be named is named so."""
    assert road.said.code == 0, road.said.err
    content = gather(road.run)
    networks = {role: {**network, "model": HOSTILE} for role, network in content.networks.items()}
    measurements = [
        replace(
            one,
            bundle=replace(one.bundle, name=HOSTILE, precision=HOSTILE),
            host=replace(one.host, name=HOSTILE),
            validity=replace(one.validity, verdict="suspect", reasons=[HOSTILE]),
        )
        for one in content.measurements
    ]
    headline = content.headline
    assert headline is not None
    shipped = next(one for one in measurements if one.bundle.role == "student")
    return replace(
        content,
        name=HOSTILE,
        networks=networks,
        adopted=HOSTILE,
        data=replace(content.data, name=HOSTILE, classes=[HOSTILE], skipped=[HOSTILE]),
        measurements=measurements,
        headline=replace(headline, shipped=shipped, doubts=[HOSTILE]),
        outdated=[HOSTILE],
        remarks={HOSTILE: [HOSTILE]},
        stages=[{**stage, "name": HOSTILE} for stage in content.stages],
        host=HOSTILE,
    )


def test_the_summary_has_no_picture_no_link_and_no_html_of_theirs(named: ReportContent) -> None:
    text = render_markdown(named)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    every = [piece for token in tokens for piece in (token, *(token.children or []))]
    kinds = {piece.type for piece in every}
    assert not kinds & {"image", "link_open", "html_inline", "html_block", "code_inline", "fence"}
    assert sum(kind.type == "heading_open" for kind in tokens) == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
    widths = [len(re.split(r"(?<!\\)\|", line)) for line in text.splitlines() if line[:1] == "|"]
    assert min(widths) > 3


def test_the_page_has_no_element_of_theirs(named: ReportContent) -> None:
    whole = render_html(named)
    # Of scripts only what is said in them of the run: the plotting library writes elements itself.
    page = re.sub(r"<script>.*?</script>", "", whole, flags=re.DOTALL)
    assert "<img" not in page
    assert "onerror=y>" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    assert "$x$" in page
