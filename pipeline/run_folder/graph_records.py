"""What the manifest of a graph's bundle must look like where its contract leaves it free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from foundation.output_agreement import OutputAgreement
from foundation.sense import at_least
from pipeline.run_folder.records import FormatRecord, Table


@dataclass(frozen=True, kw_only=True)
class ScoreRecord(Table):
    """What a scorer gave a graph's bundle; nothing of it where nobody scored."""

    scores: dict[str, float] = field(default_factory=dict)
    original: dict[str, float] = field(default_factory=dict)
    drop: float | None = None
    tolerated: float | None = None
    n: int | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)
        if bool(self.scores) != (self.drop is not None):
            yield "scores and drop go together"


@dataclass(frozen=True, kw_only=True)
class OutputsRecord(Table):
    """How each output agrees with the original's."""

    n: int
    outputs: list[OutputAgreement]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)


@dataclass(frozen=True, kw_only=True)
class GraphBundleRecord(Table):
    """The tables of such a manifest."""

    accuracy: ScoreRecord
    parity: OutputsRecord
    format_facts: FormatRecord
