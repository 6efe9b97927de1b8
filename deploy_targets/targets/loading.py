"""From a name or a path to a target: profiles found, read, filled in and checked.

A profile with `detect = true` may leave out what can be looked up on this machine. The
ONNX operator set to export for follows from the oldest ONNX Runtime that a profile
allows, by `foundation.onnx_releases`, unless the profile says one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from deploy_targets.device.pinning import LAST_CORE
from deploy_targets.device.runtimes import RUNTIMES
from deploy_targets.targets.detection import this_machine, with_rates
from deploy_targets.targets.profile import (
    ACTIVATION_TYPES,
    CALIBRATIONS,
    PRECISIONS,
    WEIGHT_TYPES,
    Target,
)
from foundation.errors import CorruptFileError, MissingFileError, RecipeError, unknown_name
from foundation.files import read_toml, user_path, write_json
from foundation.onnx_releases import highest_opset
from foundation.records import RecordError, as_dict, build, read_record

# The exporter's operators are those of set 18; every other set is converted from it.
OLDEST_EXPORTED = 18
# What the project's tests export and run. Newer sets bring nothing that a classifier needs.
NEWEST_EXPORTED = 20

FOLDER_VARIABLE = "COMPRESS_TARGETS"
_SHIPPED = Path(__file__).parents[1] / "profiles"
_KIND, _SCHEMA_VERSION = "target", 1


@dataclass(frozen=True, kw_only=True)
class _TargetFile(Target):
    """A target as it is kept."""

    schema_version: int = _SCHEMA_VERSION
    kind: str = _KIND


def own_folder() -> Path:
    """Where a user's own profiles lie; it need not be there."""
    if os.environ.get(FOLDER_VARIABLE):
        return Path(os.environ[FOLDER_VARIABLE])
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "compress" / "targets"


def shipped_names() -> list[str]:
    """Names of the profiles that come with the program, aliases too, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def target_names() -> list[str]:
    """Names of all profiles, shipped and the user's, aliases too, sorted."""
    return sorted(_profiles())


def is_shipped(name_or_path: str) -> bool:
    """Whether a name stands for a profile that comes with the program, not one of the user's."""
    return not name_or_path.endswith(".toml") and _profiles().get(name_or_path) in set(
        _SHIPPED.glob("*.toml")
    )


def load_target(name_or_path: str) -> Target:
    """The target of that name, or the one described in a file whose name ends in `.toml`.

    A profile of the user's stands for a shipped one of the same name.

    Raises:
        UnknownNameError: when there is no such name, or the profile names an unknown runtime.
        MissingFileError: when there is no such file.
        RecipeError: when the profile has an unknown or missing key or an impossible value.
    """
    if name_or_path.endswith(".toml"):
        return _load(user_path(name_or_path))
    profiles = _profiles()
    if name_or_path not in profiles:
        raise unknown_name("target", name_or_path, profiles)
    return _load(profiles[name_or_path])


def write_target(path: Path, target: Target) -> None:
    """Keep a target as it is now, so that another machine, without its profile, knows it."""
    write_json(path, {"schema_version": _SCHEMA_VERSION, "kind": _KIND, **as_dict(target)})


def read_target(path: Path) -> Target:
    """A target that `write_target` kept.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is no target.
    """
    stored = read_record(path, _TargetFile, "a target", "export again")
    target = Target(**{field.name: getattr(stored, field.name) for field in fields(Target)})
    try:
        _check(path, target)
    except RecipeError as error:
        raise CorruptFileError(f"{path}: not a target ({error}); export again") from error
    return target


def _profiles() -> dict[str, Path]:
    """Files by name; the user's after the shipped ones, so that they count."""
    return {
        path.stem: path for folder in (_SHIPPED, own_folder()) for path in folder.glob("*.toml")
    }


def _load(path: Path) -> Target:
    raw = _read(path)
    if "alias_of" in raw:
        return _load_alias(path, raw)
    detect = raw.pop("detect", False)
    if not isinstance(detect, bool):
        raise RecipeError(f"{path}: key 'detect' must be true or false, but got {detect!r}")
    if detect:
        raw = _overlaid(this_machine(), raw)
    pinned = "onnx_opset" in raw
    try:
        # Checked as written first: what is filled in leans on it.
        build(Target, {"name": path.stem, "onnx_opset": NEWEST_EXPORTED, **raw})
        completed = {"name": path.stem, "onnx_opset": NEWEST_EXPORTED, **with_rates(raw)}
        target = build(Target, completed)
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
    profiles = _profiles()
    real = {name: file for name, file in profiles.items() if "alias_of" not in _read(file)}
    if len(raw) > 1:
        raise RecipeError(
            f"{path}: a profile with 'alias_of' has no other key; take it or them out"
        )
    if not isinstance(raw["alias_of"], str):
        raise RecipeError(f"{path}: key 'alias_of' must be a profile's name")
    if raw["alias_of"] not in real:
        raise unknown_name("target", raw["alias_of"], real, where=str(path))
    return _load(real[raw["alias_of"]])


def _read(path: Path) -> dict[str, Any]:
    try:
        raw, _ = read_toml(path, "target profile")
    except MissingFileError as error:
        raise MissingFileError(
            f"{path}: no such target profile; there are {', '.join(target_names())}"
        ) from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror or error})") from error
    if "name" in raw:
        raise RecipeError(f"{path}: key 'name' is not for a profile: the file's own name is it")
    return raw


def _overlaid(detected: dict[str, Any], profile: dict[str, Any]) -> dict[str, Any]:
    """What was detected, and over it a profile's facts, which have no source but their own."""
    sources = profile.get("sources", {})
    if not isinstance(sources, dict):
        return {**detected, **profile}
    remaining = {
        name: source for name, source in detected["sources"].items() if name not in profile
    }
    return {**detected, **profile, "sources": {**remaining, **sources}}


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
    _check_numbers(path, target)
    for index, runtime in enumerate(target.runtimes):
        RUNTIMES.get(runtime.name, where=str(path))
        try:
            _ = runtime.range
        except ValueError as error:
            raise RecipeError(f"{path}: key 'runtimes[{index}].version' {error}") from error
    for index, latency in enumerate(target.published):
        RUNTIMES.get(latency.runtime, where=str(path))
        key = f"published[{index}]"
        if latency.precision not in PRECISIONS:
            raise RecipeError(
                f"{path}: key '{key}.precision' must be one of {', '.join(PRECISIONS)}, but got "
                f"{latency.precision!r}"
            )
        if latency.ratio <= 0:
            raise RecipeError(f"{path}: key '{key}.ratio' must be above 0, but got {latency.ratio}")


def _check_numbers(path: Path, target: Target) -> None:
    for key in ("cores", "memory_mb", "onnx_opset", "threads", "fp32_per_cycle", "int8_per_cycle"):
        value = getattr(target, key)
        if value is not None and value < 1:
            raise RecipeError(f"{path}: key {key!r} must be at least 1, but got {value}")
    for key in ("clock_mhz", "memory_gb_s"):
        value = getattr(target, key)
        if value is not None and value <= 0:
            raise RecipeError(f"{path}: key {key!r} must be above 0, but got {value}")
    are_cores = all(0 <= core <= LAST_CORE for core in target.pin)
    if len(set(target.pin)) != len(target.pin) or not are_cores:
        raise RecipeError(
            f"{path}: key 'pin' must name each core once, from 0 to {LAST_CORE}, "
            f"but got {target.pin}"
        )
