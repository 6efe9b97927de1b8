"""`compress bench --submit`: records of what was just measured, or the reasons why not."""

from __future__ import annotations

import json
from pathlib import Path

from deploy_targets.submission import read_submission
from pipeline.run_folder.folder import RunFolder

BUNDLE = "local-onnx-int8"


def test_what_was_measured_is_written_to_be_given_away_unless_it_is_suspect(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    measured = json.loads((own.bench / f"{BUNDLE}@local.json").read_text())
    said = forked(
        "bench", "runs/tiny", "--bundle", BUNDLE, "--submit", "out", "--json", cwd=tmp_path
    )
    (shown,) = said.json()["measurements"]
    assert shown["latency_ms"] == measured["latency_ms"], "it was measured before"
    if shown["validity"]["verdict"] == "suspect":
        assert said.code == 2 and f"{BUNDLE}: is not given away" in said.complaint
        assert said.json()["submissions"] == [] and not (tmp_path / "out").exists()
        return
    assert said.code == 0, said.err
    (path,) = said.json()["submissions"]
    submission = read_submission(tmp_path / path)
    assert submission.bundle.network == "resnet8"
    assert submission.bundle.manifest_sha256 == measured["bundle"]["manifest_sha256"]


def test_a_valid_measurement_is_written(own: RunFolder, forked, list_anew, tmp_path: Path) -> None:
    """Whatever this machine was doing meanwhile: the run is told that it was quiet."""
    path = own.bench / f"{BUNDLE}@local.json"
    content = json.loads(path.read_text())
    content["validity"].update(verdict="valid", reasons=[])
    path.write_text(json.dumps(content))
    record = own.record()
    depends_on = record["steps"][f"bench {path.stem}"]["depends_on"]
    list_anew(own)
    record = own.record()
    record["steps"][f"bench {path.stem}"]["depends_on"] = depends_on
    own.note(steps=record["steps"])
    said = forked("bench", "runs/tiny", "--bundle", BUNDLE, "--submit", "out", cwd=tmp_path)
    assert said.code == 0, said.err
    (written,) = (tmp_path / "out").glob("*.json")
    assert read_submission(written).validity.verdict == "valid"


def test_the_measurements_of_several_hosts_are_not_given_away_at_once(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    hosts = ("--host", "local", "--host", "ssh://pi@raspberrypi.local")
    said = forked("bench", "runs/tiny", *hosts, "--submit", "out", cwd=tmp_path)
    assert said.code == 2
    assert "--submit takes the measurements of one host" in said.complaint
