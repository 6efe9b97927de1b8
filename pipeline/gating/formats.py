"""A verdict for whoever reads it: Markdown, JUnit's XML, GitHub's annotations, Bencher's
metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from xml.etree import ElementTree as ET

from foundation.markdown import escaped
from foundation.words import one_line
from pipeline.gating.verdict import FAIL, INCONCLUSIVE, PASS, Answer, Check, Verdict

_MARKS: Mapping[Answer, str] = {PASS: "✅ pass", FAIL: "❌ fail", INCONCLUSIVE: "❔ inconclusive"}
_HEADS = ("answer", "bundle", "metric", "limit", "why")

# What XML 1.0 cannot hold, not even escaped.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def markdown(verdict: Verdict) -> str:
    """GitHub-flavoured Markdown: the answer, and a table of the checks."""
    rows = [
        (
            _MARKS[check.verdict],
            verdict.name_of(check),
            check.metric,
            check.limit_words,
            check.reason,
        )
        for check in verdict.checks
    ]
    lines = [
        f"### Gate: {_MARKS[verdict.verdict]}",
        "",
        _row(_HEADS),
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(_row, rows)]) + "\n"


def junit(verdict: Verdict) -> str:
    """JUnit's XML: a suite a bundle, a case a limit; what is inconclusive is an error of its case,
    or, where it counts as a pass, a case that was skipped."""
    suites = ET.Element("testsuites", {"name": "gate", **_totals(verdict.checks, verdict)})
    by_bundle: dict[str, list[Check]] = {}
    for check in verdict.checks:
        by_bundle.setdefault(verdict.name_of(check, on_host=True), []).append(check)
    for name, checks in by_bundle.items():
        totals = _totals(checks, verdict)
        suite = ET.SubElement(suites, "testsuite", {"name": _xml(name), **totals})
        for check in checks:
            title = f"{check.metric} {check.limit_words}"
            case = ET.SubElement(suite, "testcase", name=_xml(title), classname=_xml(name))
            tag = _junit_tag(check, verdict)
            if tag:
                outcome = ET.SubElement(case, tag, message=_xml(check.reason))
                if tag != "skipped":
                    outcome.set("type", check.verdict)
            ET.SubElement(case, "system-out").text = _xml(check.reason)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def github(verdict: Verdict) -> str:
    """GitHub's workflow commands: an annotation for each check that is not passed, and a notice."""
    levels = {FAIL: "error", INCONCLUSIVE: "warning"}
    lines = [
        _annotation(
            levels[check.verdict],
            f"{check.verdict}: {verdict.name_of(check)} {check.metric}",
            f"{verdict.name_of(check, on_host=True)}: {check.metric} {check.limit_words}: "
            f"{check.reason}",
        )
        for check in verdict.checks
        if check.verdict in levels
    ]
    counts = ", ".join(f"{count} {answer}" for answer, count in verdict.counts().items())
    lines.append(_annotation("notice", f"gate: {verdict.verdict}", f"{counts}"))
    return "\n".join(lines) + "\n"


def bmf(verdict: Verdict) -> str:
    """Bencher's Metric Format: a benchmark a bundle, a measure a metric, with its interval."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for check in verdict.checks:
        if check.value is None or check.low is None or check.high is None:
            continue
        regression = f" against {check.against}" if check.kind == "max_regression" else ""
        measures = found.setdefault(verdict.name_of(check, on_host=True), {})
        measures[f"{check.metric}{regression}"] = {
            "value": check.value, "lower_value": check.low, "upper_value": check.high,
        }  # fmt: skip
    return json.dumps(found, indent=2, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Verdict], str]] = {
    "markdown": markdown,
    "junit": junit,
    "github": github,
    "bmf": bmf,
}


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def _junit_tag(check: Check, verdict: Verdict) -> str | None:
    if check.verdict == PASS:
        return None
    if check.verdict == FAIL or verdict.on_inconclusive == "fail":
        return "failure"
    return "skipped" if verdict.on_inconclusive == "pass" else "error"


def _totals(checks: list[Check], verdict: Verdict) -> dict[str, str]:
    tags = [_junit_tag(check, verdict) for check in checks]
    counted = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {"tests": str(len(tags)), **{key: str(tags.count(tag)) for key, tag in counted.items()}}


def _xml(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", one_line(text))


def _annotation(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return one_line(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
