"""Each format read back by a parser that is not ours, or by the rules that its reader publishes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt

from foundation.errors import CorruptFileError
from foundation.records import as_dict
from foundation.words import one_line
from pipeline.commands.schemas import schemas
from pipeline.gating.formats import github, junit, markdown
from pipeline.gating.verdict import Check, read_verdict, verdict_of, write_verdict

HOSTILE = 'a|b <&>"\n::error::%0A,x\x00\x1b\ud800 é😀'


def check(answer: str, **changes: object) -> Check:
    facts = {
        "bundle": "one", "host": "local", "scenario": "single-stream", "runtime": "onnxruntime",
        "metric": "size_mb",
        "kind": "max", "limit": 5.0, "verdict": answer, "reason": f"because it is {answer}",
    }  # fmt: skip
    return Check(**facts | changes)  # type: ignore[arg-type]


@pytest.fixture
def verdict():
    return verdict_of(
        [
            check("pass", value=1.0, low=1.0, high=1.0, basis="exact"),
            check("fail", metric="latency_p50_ms", kind="max_regression", against="baseline"),
            check("inconclusive", bundle="two", metric="latency_p99_ms"),
        ]
    )


def test_a_bundle_that_was_judged_more_than_once_is_told_by_what_differs() -> None:
    found = verdict_of(
        [
            check("pass"),
            check("pass", host="ssh://pi"),
            check("fail", host="ssh://pi", scenario="offline"),
            check("fail", runtime="xnnpack"),
        ]
    )
    names = [
        "one@local, onnxruntime", "one@ssh://pi, single-stream", "one@ssh://pi, offline",
        "one@local, xnnpack",
    ]  # fmt: skip
    assert [found.name_of(each) for each in found.checks] == names
    assert [suite.get("name") for suite in ET.fromstring(junit(found))] == names
    assert all(name in markdown(found) for name in names)


def test_junit_has_a_suite_for_each_bundle_and_a_case_for_each_limit(verdict) -> None:
    root = ET.fromstring(junit(verdict))
    assert root.tag == "testsuites"
    assert [suite.get("name") for suite in root] == ["one@local", "two@local"]
    cases = root.findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == [
        "size_mb max 5", "latency_p50_ms max regression 5 vs baseline", "latency_p99_ms max 5",
    ]  # fmt: skip
    assert [[child.tag for child in case] for case in cases] == [
        ["system-out"], ["failure", "system-out"], ["error", "system-out"],
    ]  # fmt: skip
    failure = root.find(".//failure")
    assert (failure.get("type"), failure.get("message")) == ("fail", "because it is fail")


@pytest.mark.parametrize(
    ("asked", "tags"), [("pass", "skipped"), ("fail", "failure"), ("retry 2", "error")]
)
def test_junit_makes_of_inconclusive_what_was_asked(verdict, asked: str, tags: str) -> None:
    root = ET.fromstring(junit(verdict_of(verdict.checks, asked)))
    (case,) = root.findall("testsuite[@name='two@local']/testcase")
    assert case[0].tag == tags


def test_junit_counts_what_is_in_it_as_its_schema_wants(verdict) -> None:
    root = ET.fromstring(junit(verdict))
    for suite in (root, *root):
        cases = suite.findall(".//testcase")
        counted = {"tests": len(cases)} | {
            name: sum(case.find(tag) is not None for case in cases)
            for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
        }
        assert {name: int(suite.get(name)) for name in counted} == counted
        assert set(suite.keys()) == {"name", *counted}
    for case in root.iter("testcase"):
        assert set(case.keys()) == {"name", "classname"}


def test_junit_holds_any_text(verdict) -> None:
    odd = check("fail", bundle=HOSTILE, reason=HOSTILE, metric="latency_p50_ms")
    root = ET.fromstring(junit(verdict_of([odd])).encode())
    message = root.find(".//failure").get("message")
    assert 'a|b <&>"' in message
    assert "é😀" in message
    assert "\x00" not in message


def test_github_gets_an_annotation_for_what_is_not_passed_and_one_for_the_whole(verdict) -> None:
    lines = github(verdict).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::notice"]
    assert lines[0].startswith("::error title=fail%3A one latency_p50_ms::one@local: ")
    assert lines[2] == "::notice title=gate%3A fail::1 pass, 1 fail, 1 inconclusive"


def test_github_reads_back_what_was_meant() -> None:
    odd = check("fail", bundle=HOSTILE, reason=HOSTILE)
    first, *_, last = github(verdict_of([odd])).splitlines()
    assert last.startswith("::notice")
    # As the runner takes a line apart: the properties end at the next "::", each at a comma.
    command = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", first)
    assert command is not None
    assert command[1] == "error"
    name, title = command[2].split("=", 1)
    assert name == "title"
    assert "," not in title
    assert unescaped(title, {"%3A": ":", "%2C": ","}) == f"fail: {one_line(HOSTILE)} size_mb"
    assert unescaped(command[3]).endswith(one_line(HOSTILE))


def unescaped(text: str, more: dict[str, str] | None = None) -> str:
    """As the runner does it: the percent sign last."""
    for code, character in {**(more or {}), "%0D": "\r", "%0A": "\n"}.items():
        text = text.replace(code, character)
    return text.replace("%25", "%")


def test_markdown_is_a_table_whose_cells_stay_cells(verdict) -> None:
    odd = check("inconclusive", bundle=HOSTILE, reason=HOSTILE)
    text = markdown(verdict_of([*verdict.checks, odd]))
    heading, _, *rows = text.splitlines()
    assert heading == "### Gate: ❌ fail"
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    assert {len(row) for row in cells} == {5}
    assert len(cells) == 2 + 4
    assert "<" not in rows[-1]


def test_a_verdict_goes_through_a_file_unchanged_and_fits_its_schema(verdict, tmp_path) -> None:
    write_verdict(tmp_path / "gate.json", verdict)
    assert read_verdict(tmp_path / "gate.json") == verdict
    Draft202012Validator(schemas()["verdict.schema.json"]).validate(as_dict(verdict))


@pytest.mark.parametrize(
    "change",
    [{"verdict": "maybe"}, {"schema_version": 1}, {"checks": [{}]}, {"kind": "measurement"}],
)
def test_anything_else_than_a_verdict_is_corrupt(verdict, tmp_path, change) -> None:
    write_verdict(tmp_path / "gate.json", verdict)
    raw = json.loads((tmp_path / "gate.json").read_text())
    (tmp_path / "gate.json").write_text(json.dumps(raw | change))
    with pytest.raises(CorruptFileError, match=r"gate\.json"):
        read_verdict(tmp_path / "gate.json")


def test_exit_codes_are_three(verdict) -> None:
    answers = [verdict_of([replace(c)]) for c in verdict.checks]
    assert [one.exit_code for one in answers] == [0, 1, 3]
    assert verdict.counts() == {"pass": 1, "fail": 1, "inconclusive": 1}


@pytest.mark.parametrize(
    "name",
    [
        "![x](http://example.org/a.png)", "[x](http://example.org)", "<img src=x onerror=y>",
        "<!-- x", "a|b", "`code`", "**b** _i_ ~~s~~", "http://example.org", "www.example.org",
        "@everyone", "# h", "1. one", "a\nb", "a\r\n| x | y |", "$x$", "&lt;b&gt;",
        "\x1b[31mred", "\u202egnp.exe", "back\\",
    ],
)  # fmt: skip
def test_markdown_draws_no_picture_and_makes_no_link_of_a_name(name: str) -> None:
    text = markdown(verdict_of([check("fail", bundle=name, reason=name)]))
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    cells = [token for token in parsed if token.type == "inline"][-5:]
    for cell in (cells[1], cells[4]):
        pieces = cell.children or []
        assert {piece.type for piece in pieces} <= {"text", "text_special"}
        seen = "".join(piece.content for piece in pieces)
        assert seen.replace("\u200b", "") == one_line(name)
        # These become links and calls in GitHub's own hands, after all else.
        assert not re.search(r"://|www\.|(?<!\w)@\w", seen)


@pytest.mark.parametrize("form", [junit, github])
def test_no_format_passes_on_what_moves_a_cursor_or_turns_the_direction(form) -> None:
    text = form(verdict_of([check("fail", bundle="a\x1b[2J\u202eb", reason="c\x07\u2066d")]))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
