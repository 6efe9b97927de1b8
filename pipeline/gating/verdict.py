"""A verdict: three answers, limit by limit, as a record and as a JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from foundation.files import write_json
from foundation.records import as_dict, read_record
from foundation.sense import ascending, at_least, named, shares

SCHEMA_VERSION = 2
KIND = "verdict"

Answer = Literal["pass", "fail", "inconclusive"]
PASS: Answer = "pass"
FAIL: Answer = "fail"
INCONCLUSIVE: Answer = "inconclusive"

EXIT_CODES: dict[Answer, int] = {PASS: 0, FAIL: 1, INCONCLUSIVE: 3}

# Of each pass and each fail, over all looks: see docs/ci.md for how the looks add up to it.
CONFIDENCE = 0.95

Kind = Literal["max", "min", "max_regression"]
Basis = Literal[
    "measured", "interleaved", "not interleaved", "same images", "exact", "estimate", "none"
]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One limit against one measurement.

    Attributes:
        bundle, host, scenario, runtime: what was measured, where, how and by what.
        metric: its name in the budget.
        kind, limit: the limit, in the metric's unit; a regression in percent of the reference, or
            in percentage points where the metric is an accuracy.
        against: what a regression is counted from; None for a limit that stands alone.
        reference: name of that bundle; None where there is none.
        value, low, high: what was found, and the interval that the answer rests on; None where
            there is nothing.
        basis: "measured", or for the times of two bundles "interleaved" (timed in turns) or "not
            interleaved" (the stored figures' intervals), for their accuracies "same images"
            (compared image by image); "exact" for what needs no interval, such as a size;
            "estimate"; "none" where there is nothing.
        verdict: pass when the whole interval keeps the limit, fail when the whole is beyond it or
            nothing was measured, inconclusive in between or when a measurement is suspect.
        reason: that in words, with what to do.
        looks: measurements that were made until the answer stood.
        repeatable: whether measuring again could tell more.
    """

    bundle: str
    host: str
    scenario: str
    runtime: str
    metric: str
    kind: Kind
    limit: float
    against: Literal["baseline", "teacher", "student"] | None = None
    reference: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    basis: Basis = "none"
    verdict: Answer
    reason: str
    looks: int = 1
    repeatable: bool = True

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(bundle=self.bundle, host=self.host, metric=self.metric)
        yield from named(scenario=self.scenario, runtime=self.runtime, reference=self.reference)
        yield from at_least(1, looks=self.looks)
        if self.value is None or self.low is None or self.high is None:
            if self.verdict == PASS:
                yield "verdict is 'pass' of no figure"
        else:
            yield from ascending(low=self.low, value=self.value, high=self.high)

    @property
    def limit_words(self) -> str:
        """The limit as a table shows it: "max 5", "max regression 5 vs baseline"."""
        versus = f" vs {self.against}" if self.against else ""
        return f"{self.kind.replace('_', ' ')} {self.limit:g}{versus}"

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes it the same check when it is made again."""
        return (*self.subject, self.metric, self.kind, self.against)

    @property
    def subject(self) -> tuple[str, str, str, str]:
        """Which measurement it is of."""
        return self.bundle, self.host, self.scenario, self.runtime


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The gate's answer.

    Attributes:
        verdict: fail when any check fails, else inconclusive when any is, else pass; what the
            caller made of inconclusive is in it.
        confidence: of each pass and each fail that rests on an interval, over all its looks.
        on_inconclusive: what was asked for: "report", "pass", "fail" or "retry N".
        checks: in the order of bundles, then of limits.
        judged: run folders and files that it is about.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    verdict: Answer
    confidence: float = CONFIDENCE
    on_inconclusive: str = "report"
    checks: list[Check]
    judged: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from shares(confidence=self.confidence)
        answer = verdict_of(self.checks, self.on_inconclusive).verdict
        if self.verdict != answer:
            yield f"verdict is {self.verdict!r}, but by its checks it is {answer!r}"

    @property
    def passed(self) -> bool:
        return self.verdict == PASS

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 inconclusive."""
        return EXIT_CODES[self.verdict]

    def name_of(self, check: Check, *, on_host: bool | None = None) -> str:
        """A check's bundle, and what tells it from others that were judged too: "a@ssh://pi4",
        "a, offline".

        Args:
            on_host: whether the host is told; None where there are several.
        """
        of_same_bundle = [
            c for c in self.checks if (c.bundle, c.host) == (check.bundle, check.host)
        ]
        several = len({c.host for c in self.checks}) > 1 if on_host is None else on_host
        return ", ".join(
            [
                f"{check.bundle}@{check.host}" if several else check.bundle,
                *([check.scenario] if len({c.scenario for c in of_same_bundle}) > 1 else []),
                *([check.runtime] if len({c.runtime for c in of_same_bundle}) > 1 else []),
            ]
        )

    def counts(self) -> dict[Answer, int]:
        """How many checks have each answer."""
        answers = [check.verdict for check in self.checks]
        return {answer: answers.count(answer) for answer in EXIT_CODES}


def verdict_of(checks: list[Check], on_inconclusive: str = "report") -> Verdict:
    """All checks under one answer; "pass" and "fail" stand for inconclusive where asked for.

    Where nothing was checked, nothing passes.
    """
    answers = {check.verdict for check in checks}
    answer = FAIL
    if answers and FAIL not in answers:
        answer = INCONCLUSIVE if INCONCLUSIVE in answers else PASS
    if answer == INCONCLUSIVE and on_inconclusive in {PASS, FAIL}:
        answer = PASS if on_inconclusive == PASS else FAIL
    return Verdict(verdict=answer, on_inconclusive=on_inconclusive, checks=checks)


def after_another_look(before: Verdict, again: Verdict, look: int) -> Verdict:
    """Keep what was decided; take the rest as it is now.

    A check is decided once, by the first look that decides it, each look on its own data alone:
    so its chances of error add up over its looks, and no check is asked until it says yes.
    """
    fresh = {check.identity: check for check in again.checks}
    checks = [
        replace(fresh.get(check.identity, check), looks=look)
        if check.verdict == INCONCLUSIVE and check.repeatable
        else check
        for check in before.checks
    ]
    return verdict_of(checks, before.on_inconclusive)


def write_verdict(path: Path, verdict: Verdict) -> None:
    """Write a verdict as JSON, in one step."""
    write_json(path, as_dict(verdict))


def read_verdict(path: Path) -> Verdict:
    """Read a verdict that `write_verdict` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else than a verdict of this schema.
    """
    return read_record(path, Verdict, "a verdict", "run `compress gate` again")
