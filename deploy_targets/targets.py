"""Device classes, described in data: one TOML file each in `profiles/`, or anywhere else.

A profile with `detect = true` may leave out what can be looked up on this machine. The
ONNX operator set to export for follows from the oldest ONNX Runtime that a profile
allows, by `foundation.onnx_releases`, unless the profile says one.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploy_targets.device import facts
from deploy_targets.device.runtimes import RUNTIMES
from deploy_targets.records import RecordError, as_dict, build
from foundation.bundle import RuntimeRange
from foundation.errors import MissingFileError, RecipeError, unknown_name
from foundation.manifest import version_numbers
from foundation.onnx_releases import highest_opset

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
ACTIVATION_TYPES = ("u8", "s8")
WEIGHT_TYPES = ("s8", "u8")
CALIBRATIONS = ("minmax", "entropy", "percentile")

# The exporter's operators are those of set 18; every other set is converted from it.
OLDEST_EXPORTED = 18
# What the project's tests export and run. Newer sets bring nothing that a classifier needs.
NEWEST_EXPORTED = 20

_PROFILES = Path(__file__).parent / "profiles"
_VERSIONS = re.compile(r">=(\d+(?:\.\d+)*)(?:,<(\d+(?:\.\d+)*))?")
_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}


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
        version: the releases that may be there: ">=1.20,<2", or ">=1.20" for any from then on.
        source: why these.
    """

    name: str
    version: str
    source: str = ""

    @property
    def range(self) -> RuntimeRange:
        """The releases as a bundle states them: the newest included, and "1" stands for any 1.x.

        Raises:
            ValueError: when `version` is no range, or an empty one.
        """
        match = _VERSIONS.fullmatch(self.version.replace(" ", ""))
        if match is None:
            raise ValueError(f"must be a range such as '>=1.20,<2', but got {self.version!r}")
        oldest, limit = match.groups()
        if limit is None:
            return RuntimeRange(self.name, oldest)
        allowed = RuntimeRange(self.name, oldest, _last_before(limit))
        if not allowed.allows(oldest):
            raise ValueError(f"must leave a version, but got {self.version!r}")
        return allowed


@dataclass(frozen=True)
class Target:
    """A device class.

    Attributes:
        name: of the profile, aliases resolved.
        arch: "x86_64", "aarch64", ...
        cores: logical cores; None if this machine does not tell.
        memory_mb: MiB; None if this machine does not tell.
        features: instruction sets that matter for INT8 and 16-bit floats.
        runtimes: in order of preference.
        onnx_opset: to export for: every allowed release of its runtimes runs it.
        threads: for the runtime.
        precisions: that make sense there.
        quantization: how to quantise for it.
        sources: public documents behind the facts.
    """

    name: str
    description: str
    arch: str
    cores: int | None
    memory_mb: int | None
    features: list[str]
    runtimes: list[TargetRuntime]
    onnx_opset: int
    threads: int
    precisions: list[str]
    quantization: Quantization
    sources: list[str] = field(default_factory=list)

    @property
    def formats(self) -> list[str]:
        """Export formats that its runtimes take, in order of preference."""
        return [RUNTIMES.get(name).format for name in self.runtime_names]

    @property
    def runtime_names(self) -> list[str]:
        """Names of its runtimes, in order of preference."""
        return [runtime.name for runtime in self.runtimes]

    def runtime_for(self, export_format: str) -> RuntimeRange:
        """The runtime that takes a format there, with the releases that may be there.

        Raises:
            UnknownNameError: when it has none.
        """
        if export_format not in self.formats:
            raise unknown_name(f"export format of target {self.name}", export_format, self.formats)
        return self.runtimes[self.formats.index(export_format)].range


def target_names() -> list[str]:
    """Names of the shipped profiles, aliases too, sorted."""
    return sorted(path.stem for path in _PROFILES.glob("*.toml"))


def load_target(name_or_path: str) -> Target:
    """The target of that name, or the one described in a file whose name ends in `.toml`.

    Raises:
        UnknownNameError: when there is no such name, or the profile names an unknown runtime.
        MissingFileError: when there is no such file.
        RecipeError: when the profile has an unknown or missing key or an impossible value.
    """
    if name_or_path.endswith(".toml"):
        return _load(Path(name_or_path))
    if name_or_path not in target_names():
        raise unknown_name("target", name_or_path, target_names())
    return _load(_PROFILES / f"{name_or_path}.toml")


def detected_quantization(arch: str, features: list[str]) -> Quantization:
    """The scheme that suits a CPU, from its architecture and instruction sets."""
    if arch != "x86_64":
        return Quantization(
            "s8", "s8", True, False, "minmax", f"signed by signed suits the kernels for {arch}"
        )
    if _VNNI & set(features):
        return Quantization(
            "u8", "s8", True, False, "minmax",
            "VNNI multiplies unsigned by signed: 3.5× faster than FP32, s8 activations only 1.2×",
        )  # fmt: skip
    return Quantization(
        "u8", "s8", True, True, "minmax",
        "without VNNI, u8 × s8 sums saturate at 16 bits unless the weights keep to 7",
    )  # fmt: skip


def _load(path: Path) -> Target:
    raw = _read(path)
    if "alias_of" in raw:
        return _load_alias(path, raw)
    detect = raw.pop("detect", False)
    if not isinstance(detect, bool):
        raise RecipeError(f"{path}: key 'detect' must be true or false, but got {detect!r}")
    if detect:
        raw = {**_detected(), **raw}
    pinned = "onnx_opset" in raw
    try:
        target = build(Target, {"name": path.stem, "onnx_opset": NEWEST_EXPORTED, **raw})
    except RecordError as error:
        raise RecipeError(f"{path}: {error}") from error
    _check(path, target)
    highest = _highest_opset(path, target)
    if not pinned:
        return replace(target, onnx_opset=min(highest, NEWEST_EXPORTED))
    if not OLDEST_EXPORTED <= target.onnx_opset <= highest:
        raise RecipeError(
            f"{path}: key 'onnx_opset' must be from {OLDEST_EXPORTED}, the exporter's oldest, to "
            f"{highest}, the highest of its runtimes, but got {target.onnx_opset}"
        )
    return target


def _load_alias(path: Path, raw: dict[str, Any]) -> Target:
    real = [name for name in target_names() if "alias_of" not in _read(_PROFILES / f"{name}.toml")]
    if len(raw) > 1:
        raise RecipeError(
            f"{path}: a profile with 'alias_of' has no other key; take it or them out"
        )
    if raw["alias_of"] not in real:
        raise unknown_name("target", str(raw["alias_of"]), real, where=str(path))
    return _load(_PROFILES / f"{raw['alias_of']}.toml")


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: no such target profile; shipped ones are {', '.join(target_names())}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: not a TOML file ({error}); correct it") from error
    if "name" in raw:
        raise RecipeError(f"{path}: key 'name' is not for a profile: the file's own name is it")
    return raw


def _detected() -> dict[str, Any]:
    """What this machine says of itself, quantisation scheme included."""
    found = facts.collect()
    features = found.features or []
    return {
        "arch": found.arch,
        "cores": found.logical_cores,
        "memory_mb": found.memory_mb,
        "features": features,
        "threads": found.usable_cores or 1,
        "quantization": as_dict(detected_quantization(found.arch, features)),
    }


def _highest_opset(path: Path, target: Target) -> int:
    """The highest operator set that every allowed release of ONNX Runtime runs.

    OpenVINO sets no limit: what it loads on a device is its own format, which the exporter has
    converted the ONNX file to.
    """
    if "onnx" not in target.formats:
        return NEWEST_EXPORTED
    runtime = target.runtime_for("onnx")
    highest = highest_opset(runtime.min_version)
    if highest is None or highest < OLDEST_EXPORTED:
        raise RecipeError(
            f"{path}: key 'runtimes' allows {runtime.name} {runtime.min_version}, which does not "
            f"run ONNX operator set {OLDEST_EXPORTED}, the exporter's oldest; ask for >=1.14"
        )
    return highest


def _last_before(limit: str) -> str:
    """The newest prefix of versions below a limit: "1" of "2", "1.24" of "1.25"."""
    numbers = list(version_numbers(limit))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    if not numbers:
        raise ValueError(f"must leave a version, but nothing is below {limit!r}")
    return ".".join(map(str, [*numbers[:-1], numbers[-1] - 1]))


def _check(path: Path, target: Target) -> None:
    scheme = target.quantization
    one_of = {
        "quantization.activation_type": ([scheme.activation_type], ACTIVATION_TYPES),
        "quantization.weight_type": ([scheme.weight_type], WEIGHT_TYPES),
        "quantization.calibration": ([scheme.calibration], CALIBRATIONS),
        "precisions": (target.precisions, PRECISIONS),
    }
    for key, (values, allowed) in one_of.items():
        for value in values:
            if value not in allowed:
                raise RecipeError(
                    f"{path}: key {key!r} must be one of {', '.join(allowed)}, but got {value!r}"
                )
    for key in ("runtimes", "precisions"):
        if not getattr(target, key):
            raise RecipeError(f"{path}: key {key!r} must name at least one")
    for key in ("cores", "memory_mb", "onnx_opset", "threads"):
        value = getattr(target, key)
        if value is not None and value < 1:
            raise RecipeError(f"{path}: key {key!r} must be at least 1, but got {value}")
    for index, runtime in enumerate(target.runtimes):
        RUNTIMES.get(runtime.name, where=str(path))
        try:
            _ = runtime.range
        except ValueError as error:
            raise RecipeError(f"{path}: key 'runtimes[{index}].version' {error}") from error
