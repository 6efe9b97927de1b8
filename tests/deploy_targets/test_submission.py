"""Records to give away: whole, valid, and silent about whose machine it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sample_measurement
from jsonschema import Draft202012Validator

from deploy_targets.device import facts
from deploy_targets.device.messages import (
    Accuracy,
    Conditions,
    Energy,
    ExecutedPrecision,
    RuntimeUsed,
    Validity,
)
from deploy_targets.measurement import BundleMeasured, HostMeasured, Measurement
from deploy_targets.submission import (
    identifying,
    read_submission,
    submission_of,
    write_submission,
)
from foundation.errors import CorruptFileError, UsageError
from foundation.manifest import Manifest, RuntimeRange, TensorSpec
from foundation.preprocessing import Preprocessing
from foundation.records import as_dict, build
from pipeline.commands.schemas import schemas

ROOT = Path(__file__).parents[2]
GIVEN = sorted((ROOT / "benchmarks/submissions").glob("*.json"))
VALIDATOR = Draft202012Validator(schemas()["submission.schema.json"])

MANIFEST = Manifest(
    name="local-onnx-int8", role="student", target="local", format="onnx", precision="int8",
    model_file="model.onnx",
    input=TensorSpec("input", "float32", "NCHW", ["batch", 1, 32, 32]),
    output=TensorSpec("logits", "float32", "NC", ["batch", 10]),
    preprocessing=Preprocessing(height=32, width=32, channels=1, mean=[0.3], std=[0.3]),
    classes=list("0123456789"), files={"model.onnx": "cd" * 32}, opset=20,
    runtime=RuntimeRange("onnxruntime", "1.20"), origin={"model": "resnet8", "run": "digits"},
)  # fmt: skip
MEASUREMENT = replace(
    sample_measurement.MEASUREMENT,
    bundle=BundleMeasured("local-onnx-int8", "student", "local", "onnx", "int8", 99, "ab" * 32),
    host=HostMeasured(
        "ssh://jane@janes-pi.local:2222/home/jane/edge",
        replace(facts.collect(), os="Linux 6.6.31-janes-kernel+", board="Raspberry Pi 5 Model B"),
    ),
    runtime=RuntimeUsed(
        "onnxruntime", "1.32.0", 4, "f32", ExecutedPrecision("int8", {"int8": 9, "f32": 1}), [0, 3],
        "CPUExecutionProvider",
    ),
    energy=Energy(0.01, "RAPL package-0"),
    accuracy=Accuracy(0.75, 8, 0.4, 0.95, "3f", "ab" * 32),
    conditions=[Conditions("before", governor="performance", frequency_mhz=2400.0)],
    validity=Validity("valid", [], ["swap"]),
    started_at="2026-01-02T03:04:05+00:00",
)  # fmt: skip


def test_a_record_fits_its_schema_and_is_read_again(tmp_path: Path) -> None:
    submission = submission_of(MEASUREMENT, MANIFEST, "0.1.0")
    path = write_submission(tmp_path / "new" / "folder", submission)
    assert path.name.startswith("raspberry-pi-5-model-b.resnet8.onnx-int8.")
    VALIDATOR.validate(json.loads(path.read_text()))
    assert read_submission(path) == submission
    assert write_submission(tmp_path / "new" / "folder", submission) == path


def test_it_has_what_was_measured() -> None:
    submission = submission_of(MEASUREMENT, MANIFEST, "0.1.0")
    assert submission.bundle.manifest_sha256 == "ab" * 32
    assert submission.bundle.input_shape == [1, 32, 32]
    assert submission.latency_ms == MEASUREMENT.latency_ms
    assert submission.date == "2026-01-02"
    assert submission.device.os == "Linux 6.6.31"
    assert submission.accuracy and submission.accuracy.top1 == 0.75


@pytest.mark.parametrize(
    "model", ["jane.models:net", "janes-secret-net", "/home/jane/net.onnx", "jane.onnx"]
)
def test_it_says_nothing_of_whose_machine_it_was(model: str) -> None:
    measurement = replace(MEASUREMENT, bundle=replace(MEASUREMENT.bundle, target="janes-camera"))
    manifest = replace(MANIFEST, origin={"model": model, "run": "janes-run", "dataset": "janes"})
    text = json.dumps(as_dict(submission_of(measurement, manifest, "0.1.0")))
    assert "jane" not in text
    assert '"network": "own"' in text and '"target": "own"' in text


def test_every_text_of_a_measurement_is_either_left_out_or_looked_over() -> None:
    """A name that is put into any field at all is not in the record, or the record is refused."""
    planted = "/home/jane"
    places = list(texts(as_dict(MEASUREMENT)))
    assert len(places) > 15
    for place in places:
        content = as_dict(MEASUREMENT)
        put(content, place, planted)
        try:
            measurement = build(Measurement, content)
            text = json.dumps(as_dict(submission_of(measurement, MANIFEST, "0.1.0")))
        except (UsageError, ValueError):
            continue
        assert planted not in text, place


def texts(content, place=()):
    """Where texts are."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        if isinstance(value, dict | list):
            yield from texts(value, (*place, key))
        elif isinstance(value, str):
            yield (*place, key)


def put(content, place, value) -> None:
    for key in place[:-1]:
        content = content[key]
    content[place[-1]] = value


@pytest.mark.parametrize(
    "text",
    [
        "/home/jane", "kept in ~/runs", "C:\\Users\\jane", "ssh://pi", "jane@example", "10.0.0.7",
        "fe80::1", "dc:a6:32:01:02:03", "raspberrypi.local", "10000000abcdef01",
    ],
)  # fmt: skip
def test_what_may_say_whose_machine_it_is_is_found(text: str) -> None:
    assert list(identifying({"device": {"board": text}})), text


@pytest.mark.parametrize(
    "text",
    [
        "Raspberry Pi 5 Model B Rev 1.0", "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "1.32.0",
        "2026.4.1-20426-82bbf0292c5-releases/2026/4", "AMD EPYC 9B45", "Linux 6.6.31",
        "torchvision/resnet18", "RAPL package-0", "CPUExecutionProvider",
    ],
)  # fmt: skip
def test_what_everybody_may_know_is_let_through(text: str) -> None:
    assert list(identifying({"device": {"cpu": text}})) == []


def test_a_suspect_measurement_is_not_given_away(tmp_path: Path) -> None:
    suspect = replace(MEASUREMENT, validity=Validity("suspect", ["other processes took 50%"], []))
    with pytest.raises(UsageError, match="suspect: other processes took 50%"):
        submission_of(suspect, MANIFEST, "0.1.0")
    path = write_submission(tmp_path, submission_of(MEASUREMENT, MANIFEST, "0.1.0"))
    content = json.loads(path.read_text())
    content["validity"] = {"verdict": "suspect", "reasons": ["heat"], "unavailable": []}
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match="suspect: heat"):
        read_submission(path)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("conditions", 0, "throttled"), True, "slowed itself down"),
        (("conditions", 0, "other_cpu"), 0.5, "other processes took 50%"),
        (("runtime", "executed_precision"), {"summary": "f32", "operators": {"f32": 9}}, "ran in"),
    ],
)
def test_a_record_that_is_called_valid_and_is_not_is_refused(
    place, value, words: str, tmp_path: Path
) -> None:
    path = write_submission(tmp_path, submission_of(MEASUREMENT, MANIFEST, "0.1.0"))
    content = json.loads(path.read_text())
    put(content, place, value)
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match=words):
        read_submission(path)


def test_a_record_with_a_private_name_in_it_is_refused(tmp_path: Path) -> None:
    path = write_submission(tmp_path, submission_of(MEASUREMENT, MANIFEST, "0.1.0"))
    content = json.loads(path.read_text())
    content["device"]["board"] = "the board of jane@example.org"
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match="e-mail"):
        read_submission(path)


@pytest.mark.parametrize("path", GIVEN, ids=lambda path: path.name)
def test_each_record_that_was_given_is_whole_valid_and_says_nothing_private(
    path: Path, tmp_path: Path
) -> None:
    VALIDATOR.validate(json.loads(path.read_text(encoding="utf-8")))
    submission = read_submission(path)
    assert submission.validity.verdict == "valid"
    assert write_submission(tmp_path, submission).name == path.name


def test_nothing_else_lies_among_the_records() -> None:
    others = {path.name for path in (ROOT / "benchmarks/submissions").iterdir()} - {"README.md"}
    assert others == {path.name for path in GIVEN}
