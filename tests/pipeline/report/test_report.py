from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from deploy_targets.measurement import read_measurement
from pipeline.report.content import gather
from pipeline.runs import RunFolder

# Attributes through which a browser would fetch something by itself.
FETCHING = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """Collects what a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in FETCHING and value and not value.startswith(("#", "data:")):
                self.fetched.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def text(road) -> str:
    return (road.run.path / "report.html").read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


@pytest.fixture(scope="module")
def summary(road) -> str:
    return (road.run.path / "report.md").read_text()


class TestThePage:
    def test_stands_alone(self, page: Page, text: str) -> None:
        assert page.fetched == []
        assert not {"script", "iframe", "object", "embed", "base"} & set(page.tags)
        loaded = re.findall(r"""(?:url\(|@import)\s*["']?(?!#|data:)([^"')\s]+)""", text)
        assert loaded == []

    def test_would_be_caught_if_it_fetched_something(self) -> None:
        fetching = Page('<link href="https://x.org/a.css"><img src="b.png"><a href="#c">')
        assert fetching.fetched == ["https://x.org/a.css", "b.png"]

    def test_has_its_plots_inside(self, page: Page) -> None:
        assert page.tags.count("svg") >= 4

    def test_has_no_two_elements_of_one_id_where_plots_refer_to_it(self, text: str) -> None:
        referred = set(re.findall(r"""(?:href="#|url\(#)([^")]+)""", text))
        ids = Counter(re.findall(r'\sid="([^"]+)"', text))
        assert referred
        assert {name: ids[name] for name in referred if ids[name] != 1} == {}

    def test_names_every_bundle_and_its_figures(self, page: Page, road) -> None:
        for path in road.run.measurement_paths():
            one = read_measurement(path)
            assert one.bundle.name in page.words
            assert f"{one.latency_ms.p50:,.3f}" in page.words
            assert f"{100 * one.accuracy.top1:,.2f}" in page.words

    def test_says_the_verdict_and_every_limit(self, page: Page) -> None:
        assert re.search(r"gate: pass", page.words)
        for metric in ("size_mb", "top1_percent"):
            assert metric in page.words

    def test_tells_every_stage(self, page: Page) -> None:
        for stage in ("1 kd", "2 at", "3 rkd"):
            assert stage in page.words

    def test_tells_where_the_figures_come_from(self, page: Page, road) -> None:
        record = road.run.record()
        for fact in (record["created_at"], record["platform"], record["versions"]["onnxruntime"]):
            assert fact in page.words

    def test_takes_names_as_words_and_not_as_html(self, hostile: RunFolder) -> None:
        page = Page((hostile.path / "report.html").read_text())
        assert not {"u", "i", "img", "script"} & set(page.tags)
        assert page.handlers == []
        for name in ("<b>bold</b>", "<u>run</u>", "a&b<i>.jpg", '<img src="x"'):
            assert name in page.words


class TestTheSummary:
    def test_has_a_row_for_every_bundle(self, summary: str, road) -> None:
        for folder in road.run.bundle_folders():
            assert len(re.findall(rf"^\| {folder.name} \|", summary, re.MULTILINE)) >= 1

    def test_has_tables_whose_rows_are_all_of_one_length(self, summary: str) -> None:
        tables = [block for block in summary.split("\n\n") if block.lstrip().startswith("|")]
        assert len(tables) >= 3
        for table in tables:
            rows = [line for line in table.splitlines() if line.strip()]
            assert len({row.count("|") for row in rows}) == 1, table
            assert re.fullmatch(r"[|:\- ]+", rows[1])
            assert len(rows) > 2

    def test_says_the_verdict_and_the_stages(self, summary: str) -> None:
        assert "gate pass" in summary
        for words in ("top1_percent", "| 1 kd |", "| 3 rkd |"):
            assert words in summary


def test_the_headline_is_the_fastest_student_that_keeps_the_budget(road) -> None:
    content = gather(road.run)
    students = [one for one in content.measurements if one.bundle.role == "student"]
    assert content.headline is not None
    fastest = min(one.latency_ms.p50 for one in students)
    assert content.headline.student.latency_ms.p50 == fastest
    teacher = content.headline.teacher
    assert teacher.bundle.role == "teacher"
    assert content.headline.speedup == pytest.approx(teacher.latency_ms.p50 / fastest)
