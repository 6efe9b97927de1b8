"""The program that keeps our folder on a device, asked without a link between."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from deploy_targets.remote.onboard.agent import MARKER, Agent
from deploy_targets.remote.onboard.refusals import RefusalError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Our folder on a device, with an environment in it and one that was half made."""
    root = tmp_path / "edge-compress"
    for name in ("envs/onnxruntime", "partial/env-openvino"):
        (root / name / "bin").mkdir(parents=True)
        (root / name / "bin/python").symlink_to(sys.executable)
    for name in ("code/abc", "bundles/def", "evaluation", "cache", "partial/bundles-123"):
        (root / name).mkdir(parents=True)
    (root / MARKER).write_text(json.dumps({"what": "made by compress device setup"}))
    return root


def test_links_within_environments_are_as_they_must_be(folder: Path) -> None:
    assert Agent(io.BytesIO()).open(str(folder))["code"] == ["abc"]


def test_the_folder_may_itself_lie_behind_a_link(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder, target_is_directory=True)
    assert Agent(io.BytesIO()).open(str(link))["bundles"] == ["def"]


@pytest.mark.parametrize(
    "name",
    ["lock", "code", "code/new", "bundles", "bundles/def/model.onnx", "evaluation/x", "partial",
     "partial/bundles-123/.model.onnx.tmp", "partial/new", "envs", "envs/openvino", "cache/x",
     "wheels"],
)  # fmt: skip
def test_a_link_that_leads_out_of_it_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    outside, link = tmp_path / "outside", folder / name
    (outside / "old").mkdir(parents=True)
    if link.is_dir():
        link.rename(tmp_path / "aside")
    link.symlink_to(outside)
    with pytest.raises(RefusalError, match=f"{link}: is a link that leads out of our folder"):
        Agent(io.BytesIO()).open(str(folder))
    assert (outside / "old").is_dir()
