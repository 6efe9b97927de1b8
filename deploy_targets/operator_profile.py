"""Where a bundle's time goes on a host: what its runtime told, as a record and as a JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy_targets.device.operator_times import Profiled
from deploy_targets.measurement import BundleMeasured, HostMeasured
from foundation.files import write_json
from foundation.records import as_dict, read_record
from foundation.sense import at_least, named

SCHEMA_VERSION = 1
KIND = "operator-times"

CONVOLUTIONS, PRODUCTS, OTHERS = FAMILIES = ("convolutions", "matrix products", "all else")
_PRODUCT_WORDS = ("gemm", "matmul", "fullyconnected", "innerproduct")


@dataclass(frozen=True)
class KindTime:
    """All operators of a kind.

    Attributes:
        kind: as the runtime calls it.
        count: operators of that kind.
        ms: milliseconds of an inference that they take together.
        share: of the whole inference (0..1).
        precisions: how many of them computed in each format that the runtime told of.
    """

    kind: str
    count: int
    ms: float
    share: float
    precisions: dict[str, int]


@dataclass(frozen=True)
class RooflineShown:
    """The least time that a target's peak rates allow for the same graph: computed, not measured.

    Attributes:
        target: whose rates.
        threads: that share the work.
        ms: milliseconds by family: "convolutions", "matrix products", "all else".
    """

    target: str
    threads: int
    ms: dict[str, float]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(target=self.target)
        yield from at_least(1, threads=self.threads)
        yield from at_least(0, **{f"ms.{name}": ms for name, ms in self.ms.items()})


@dataclass(frozen=True, kw_only=True)
class OperatorProfile:
    """Where an inference of a bundle on a host spends its time; no latency is taken from it.

    Attributes:
        profiled: what the runtime told.
        roofline: beside it; None where the target's rates are not known, or the graph cannot be
            counted.
        seconds: that the profiling took.
        started_at: when it began; ISO 8601, UTC.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    bundle: BundleMeasured
    host: HostMeasured
    profiled: Profiled
    roofline: RooflineShown | None = None
    seconds: float
    started_at: str

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, seconds=self.seconds)

    def share_of(self, ms: float) -> float:
        """Of the whole inference (0..1)."""
        return ms / self.profiled.whole_ms if self.profiled.whole_ms else 0.0

    def by_kind(self) -> list[KindTime]:
        """Operators summed up by kind, the one that takes most first."""
        kinds: dict[str, list[int]] = {}
        for place, operator in enumerate(self.profiled.operators):
            kinds.setdefault(operator.kind, []).append(place)
        summed = [self._summed(kind, places) for kind, places in kinds.items()]
        return sorted(summed, key=lambda kind: -kind.ms)

    def _summed(self, kind: str, places: list[int]) -> KindTime:
        operators = [self.profiled.operators[place] for place in places]
        ms = sum(operator.ms for operator in operators)
        formats = [operator.precision for operator in operators if operator.precision]
        counts = {name: formats.count(name) for name in sorted(set(formats))}
        return KindTime(kind, len(operators), ms, self.share_of(ms), counts)

    def by_family(self) -> dict[str, float]:
        """Milliseconds by family, which are the same for every runtime."""
        sums = dict.fromkeys(FAMILIES, 0.0)
        for operator in self.profiled.operators:
            sums[family_of(operator.kind)] += operator.ms
        return sums


def family_of(kind: str) -> str:
    """Which of `FAMILIES` a kind of operator is of, by a runtime's word or a graph's."""
    word = kind.lower().replace("_", "")
    if any(part in word for part in _PRODUCT_WORDS):
        return PRODUCTS
    # "Conv" and "GroupConvolution", and not "Convert".
    is_convolution = "conv" in word.replace("convert", "").replace("conversion", "")
    return CONVOLUTIONS if is_convolution else OTHERS


def write_operator_profile(path: Path, profile: OperatorProfile) -> None:
    """Write a profile as JSON, in one step."""
    write_json(path, as_dict(profile))


def read_operator_profile(path: Path) -> OperatorProfile:
    """Read a profile that `write_operator_profile` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else than a profile of this schema.
    """
    return read_record(path, OperatorProfile, "a profile of operators", "profile again")
