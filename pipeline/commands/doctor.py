"""What works on this machine, what does not, and why."""

from __future__ import annotations

import importlib
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deploy_targets.device.facts import Facts, collect
from deploy_targets.remote.checking import Finding
from deploy_targets.targets import detected_quantization
from foundation.records import as_dict
from pipeline.shown.outcome import Outcome, table_of

# What each distribution is for here, and the module that must import.
_LIBRARIES = {
    "torch": ("torch", "training and export"),
    "torchvision": ("torchvision", "its models as teachers and students"),
    "lightning-fabric": ("lightning_fabric", "device and precision of the training"),
    "onnx": ("onnx", "export to ONNX"),
    "onnxscript": ("onnxscript", "export to ONNX"),
    "onnxslim": ("onnxslim", "export to ONNX"),
    "onnxruntime": ("onnxruntime", "INT8 for ONNX, and running it"),
    "openvino": ("openvino", "OpenVINO bundles, and running them"),
    "nncf": ("nncf", "INT8 for OpenVINO"),
}
_LITTLE_DISK_GB = 2


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What `compress doctor --json` prints.

    Attributes:
        facts: of this machine.
        findings: what works here, what does not, and why.
    """

    schema_version: int = 1
    kind: str = "doctor"
    facts: Facts
    findings: list[Finding]


def examine() -> Outcome:
    """Look at libraries, processor, disk and what the system tells of itself."""
    facts = collect()
    findings = [
        *_libraries(),
        *_processor(facts),
        _accelerator(),
        *_silence(facts),
        _disk(Path.cwd()),
    ]
    rows = [[finding.state, finding.what, finding.detail] for finding in findings]
    table = table_of("Doctor", ["", "what", "found"], rows)
    content = as_dict(Examination(facts=facts, findings=findings))
    return Outcome(content, [table], all(finding.state != "problem" for finding in findings))


def _libraries() -> list[Finding]:
    findings = []
    for distribution, (module, purpose) in _LIBRARIES.items():
        try:
            importlib.import_module(module)
            finding = Finding("ok", distribution, f"{version(distribution)}: {purpose}")
        except (ImportError, PackageNotFoundError, OSError) as error:
            reason = str(error).partition("\n")[0]
            finding = Finding(
                "problem",
                distribution,
                f"does not import ({reason}), so this will not work: {purpose}; "
                f"`pip install {distribution}`",
            )
        findings.append(finding)
    return findings


def _processor(facts: Facts) -> list[Finding]:
    features = facts.features or []
    scheme = detected_quantization(facts.arch, features)
    cores = f"{facts.usable_cores} of {facts.logical_cores} cores usable"
    if facts.cpu_quota is not None:
        cores += f" (the container's quota is worth {facts.cpu_quota:.3g})"
    findings = [
        Finding("ok", "processor", f"{facts.cpu or 'unknown'}, {facts.arch}, {cores}"),
        Finding(
            "ok" if _has_int8(features) else "note",
            "INT8",
            f"{', '.join(features) or 'no known feature'}; activations {scheme.activation_type}, "
            f"weights {scheme.weight_type}{', 7 bits' if scheme.reduce_range else ''}: "
            f"{scheme.reason}",
        ),
    ]
    if {"avx512_bf16", "amx_bf16"} & set(features):
        findings.append(
            Finding(
                "note",
                "bf16",
                "OpenVINO computes FP32 models in bf16 here unless it is told not to; `compress "
                "bench` asks for f32 and records what really ran (--precision-hint auto lets it)",
            )
        )
    return findings


def _has_int8(features: list[str]) -> bool:
    int8_features = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
    return bool(int8_features & set(features))


def _accelerator() -> Finding:
    try:
        import torch  # noqa: PLC0415 - seconds

        if torch.cuda.is_available():
            return Finding("ok", "GPU", torch.cuda.get_device_name(0))
    except (ImportError, RuntimeError) as error:
        return Finding("note", "GPU", f"cannot be asked for: {str(error).partition(chr(10))[0]}")
    return Finding("note", "GPU", "none that torch can use; training runs on the processor")


def _silence(facts: Facts) -> list[Finding]:
    """What this system does not tell, so that no measurement can say it."""
    silent = {
        "governor": facts.governor,
        "temperature": facts.temperature_c,
    }
    missing = [name for name, value in silent.items() if value is None]
    if not missing:
        return []
    return [
        Finding(
            "note",
            "measuring",
            f"{' and '.join(missing)} not available here (a virtual machine?): throttling would "
            "not be seen",
        )
    ]


def _disk(folder: Path) -> Finding:
    if not os.access(folder, os.W_OK):
        return Finding(
            "problem", "disk", f"{folder} cannot be written; give --run a folder that can"
        )
    free = shutil.disk_usage(folder).free / 1e9
    if free < _LITTLE_DISK_GB:
        return Finding("problem", "disk", f"{free:.1f} GB free in {folder}; free some")
    return Finding("ok", "disk", f"{free:.0f} GB free in {folder}")
