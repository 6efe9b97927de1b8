"""`compress --version`: which releases are at work here; nothing is imported to find that out."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

# What a result may depend on, the heaviest first; the last two need not be there.
LIBRARIES = (
    "torch", "torchvision", "lightning-fabric", "onnx", "onnxscript", "onnxslim", "onnxruntime",
    "openvino", "nncf", "numpy", "timm", "torch-pruning",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Versions:
    """What `compress --version --json` prints.

    Attributes:
        compress: the release of this program; null where it runs from its sources.
        python: the version of Python.
        platform: the system and its processor.
        libraries: releases by the package's name; null for what is not installed.
    """

    schema_version: int = 1
    kind: str = "versions"
    compress: str | None
    python: str
    platform: str
    libraries: dict[str, str | None]


def versions() -> Versions:
    """The releases that a command of this process would use."""
    return Versions(
        compress=_installed("edge-compress"),
        python=platform.python_version(),
        platform=platform.platform(),
        libraries={name: _installed(name) for name in LIBRARIES},
    )


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
