"""A target: what is known of a device class, and where each fact is from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from statistics import median

from deploy_targets.device.runtimes import RUNTIMES
from foundation.bundle import RuntimeRange
from foundation.errors import unknown_name
from foundation.manifest import version_numbers

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
ACTIVATION_TYPES = ("u8", "s8")
WEIGHT_TYPES = ("s8", "u8")
CALIBRATIONS = ("minmax", "entropy", "percentile")

# Facts that need a source each. A runtime and a quantisation scheme carry theirs with them.
SOURCED = (
    "arch", "cpu", "cores", "clock_mhz", "memory_mb", "memory_gb_s", "features", "fp32_per_cycle",
    "int8_per_cycle", "threads", "pin", "power", "precisions",
)  # fmt: skip

_VERSION = r"(\d+(?:\.\d+)*)"
_VERSIONS = re.compile(rf">={_VERSION}((?:,!={_VERSION})*)(?:,<{_VERSION})?")


@dataclass(frozen=True)
class Quantization:
    """How to quantise for a target.

    Attributes:
        activation_type, weight_type: "u8" or "s8".
        per_channel: one scale for each output channel of a weight.
        reduce_range: 7 bits for weights, where 8 would saturate the kernels' sums.
        calibration: how ranges of activations are found.
        reason: why so, in a line.
    """

    activation_type: str
    weight_type: str
    per_channel: bool
    reduce_range: bool
    calibration: str
    reason: str = ""


@dataclass(frozen=True)
class TargetRuntime:
    """A runtime that a device class has.

    Attributes:
        name: such as "onnxruntime".
        version: the releases that may be there: ">=1.20,<2", or ">=1.20" for any from then on;
            ">=1.20,!=1.21.0,<2" where one of them will not do.
        source: why these.
        optional: whether it is used, and put on a device, only where somebody asks for it.
    """

    name: str
    version: str
    source: str = ""
    optional: bool = False

    @property
    def range(self) -> RuntimeRange:
        """The releases as a bundle states them: the newest included, and "1" stands for any 1.x.

        Raises:
            ValueError: when `version` is no range, or an empty one.
        """
        match = _VERSIONS.fullmatch(self.version.replace(" ", ""))
        if match is None:
            raise ValueError(f"must be a range such as '>=1.20,<2', but got {self.version!r}")
        oldest, but, _, limit = match.groups()
        excluded = re.findall(_VERSION, but)
        if limit is None:
            return RuntimeRange(self.name, oldest, excluded=excluded)
        allowed = RuntimeRange(self.name, oldest, _last_before(limit), excluded)
        if not allowed.allows(oldest):
            raise ValueError(f"must leave a version, but got {self.version!r}")
        return allowed


@dataclass(frozen=True)
class PublishedLatency:
    """What somebody else measured on such a core, and published; this program did not.

    Attributes:
        runtime, precision: that were timed, as this program calls them.
        ratio: latency of one image divided by that of ONNX Runtime in FP32, with the same network
            on the same board, in the same table.
        network: what was timed.
        source: where it stands.
    """

    runtime: str
    precision: str
    ratio: float
    network: str
    source: str


@dataclass(frozen=True)
class Target:
    """A device class. What is None is not known, or differs within the class.

    Attributes:
        name: of the profile, aliases resolved.
        arch: "x86_64", "aarch64", ...
        features: instruction sets that matter for INT8 and 16-bit floats.
        runtimes: in order of preference.
        onnx_opset: to export for: every allowed release of its runtimes runs it.
        precisions: that make sense there.
        quantization: how to quantise for it.
        cores: logical cores.
        memory_mb: MiB.
        threads: for the runtime; None for every core that it may use.
        cpu: the core's name, such as "Cortex-A72".
        clock_mhz: the highest clock that it holds with all cores at work, as documented.
        memory_gb_s: 10⁹ bytes a second that memory moves at most.
        fp32_per_cycle, int8_per_cycle: operations that a core does in a cycle at most, a
            multiply-accumulate being two; those of the core's name in `cores.toml` if not said.
        pin: numbers of the cores to run on; empty for any.
        power: settings to measure with, by what sets them, such as governor or nvpmodel.
        sources: where a fact is from, by its name above.
        published: latencies that others measured on such a core.
    """

    name: str
    description: str
    arch: str
    features: list[str]
    runtimes: list[TargetRuntime]
    onnx_opset: int
    precisions: list[str]
    quantization: Quantization
    cores: int | None = None
    memory_mb: int | None = None
    threads: int | None = None
    cpu: str | None = None
    clock_mhz: float | None = None
    memory_gb_s: float | None = None
    fp32_per_cycle: int | None = None
    int8_per_cycle: int | None = None
    pin: list[int] = field(default_factory=list)
    power: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    published: list[PublishedLatency] = field(default_factory=list)

    @property
    def formats(self) -> list[str]:
        """Export formats that its runtimes take, in order of preference."""
        return [RUNTIMES.get(name).format for name in self.runtime_names]

    @property
    def usual_formats(self) -> list[str]:
        """Those of them that nobody has to ask for."""
        return [RUNTIMES.get(name).format for name in self.usual_runtimes]

    @property
    def runtime_names(self) -> list[str]:
        """Names of its runtimes, in order of preference."""
        return [runtime.name for runtime in self.runtimes]

    @property
    def usual_runtimes(self) -> list[str]:
        """Those of them that nobody has to ask for."""
        return [runtime.name for runtime in self.runtimes if not runtime.optional]

    def runtime_for(self, export_format: str) -> RuntimeRange:
        """The runtime that takes a format there, with the releases that may be there.

        Raises:
            UnknownNameError: when it has none.
        """
        if export_format not in self.formats:
            raise unknown_name(f"export format of target {self.name}", export_format, self.formats)
        return self.runtimes[self.formats.index(export_format)].range

    def published_ratio(self, export_format: str, precision: str) -> float | None:
        """Latency in that format and precision divided by that of ONNX Runtime in FP32, as others
        published it for such a core: the median of what is known; None where nothing is.
        """
        ratios = [
            latency.ratio
            for latency in self.published
            if latency.precision == precision
            and RUNTIMES.get(latency.runtime).format == export_format
        ]
        return median(ratios) if ratios else None

    def per_cycle(self) -> dict[str, int]:
        """Operations that a core does in a cycle at most, by "fp32" and "int8", as far as known."""
        rates = {"fp32": self.fp32_per_cycle, "int8": self.int8_per_cycle}
        return {name: rate for name, rate in rates.items() if rate is not None}

    def peak_gops(self, threads: int) -> dict[str, float]:
        """10⁹ operations a second at most, by "fp32" and "int8", as far as known.

        Lanes × pipes × clock × threads: theoretical, and reached by no network.
        """
        if self.clock_mhz is None:
            return {}
        cycles = self.clock_mhz / 1e3 * threads
        return {name: rate * cycles for name, rate in self.per_cycle().items()}

    def unsourced(self) -> list[str]:
        """Facts that it states without a source."""
        stated = [name for name in SOURCED if getattr(self, name) not in (None, [], {})]
        unsourced = [name for name in stated if not self.sources.get(name)]
        unsourced += [f"runtimes.{runtime.name}" for runtime in self.runtimes if not runtime.source]
        unsourced += [f"published.{one.runtime}" for one in self.published if not one.source]
        return unsourced if self.quantization.reason else [*unsourced, "quantization"]


def _last_before(limit: str) -> str:
    """The newest prefix of versions below a limit: "1" of "2", "1.24" of "1.25"."""
    numbers = list(version_numbers(limit))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    if not numbers:
        raise ValueError(f"must leave a version, but nothing is below {limit!r}")
    return ".".join(map(str, [*numbers[:-1], numbers[-1] - 1]))
