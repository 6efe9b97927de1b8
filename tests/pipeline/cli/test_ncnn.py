"""A run's student as ncnn bundles: made when they are asked for, verified, measured."""

from __future__ import annotations

import json

import pytest

from deploy_targets.measurement import read_measurement
from pipeline.run_folder.folder import RunFolder

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


def test_it_is_asked_for_by_name_and_goes_the_whole_road(own: RunFolder, forked) -> None:
    there = own.path.parents[1]
    assert not any("ncnn" in folder.name for folder in own.bundle_folders())
    words = ("--format", "ncnn", "--precision", "fp32", "--precision", "fp16")
    said = forked("export", *words, "--json", cwd=there)
    assert said.code == 0, said.err
    names = ["local-ncnn-fp32", "local-ncnn-fp16"]
    assert set(names) <= {folder.name for folder in own.bundle_folders()}
    for name in names:
        folder = own.bundles / name
        manifest = json.loads((folder / "bundle.json").read_text())
        assert set(manifest["files"]) >= {"model.ncnn.param", "model.ncnn.bin"}
        assert manifest["runtime"]["name"] == "ncnn"
        assert forked("bundle", "verify", folder, cwd=there).code == 0
    words = [word for name in names for word in ("--bundle", name)]
    said = forked("bench", *words, "--queries", "50", "--json", cwd=there)
    assert said.code == 0, said.err
    measured = [
        found
        for path in own.measurement_paths()
        if (found := read_measurement(path)).bundle.name in names
    ]
    assert len(measured) == len(names)
    accuracies = set()
    for one in measured:
        assert one.runtime.name == "ncnn"
        assert one.parity.top1_agreement >= 0.99
        assert one.accuracy is not None
        accuracies.add(one.accuracy.top1)
    assert max(accuracies) - min(accuracies) < 0.01


def test_what_it_cannot_do_is_said_in_a_line(own: RunFolder, forked) -> None:
    there = own.path.parents[1]
    said = forked("export", "--format", "ncnn", "--precision", "int8", cwd=there)
    assert said.code == 2
    assert "ncnn in fp32, fp16; executorch in fp32, int8; nothing that was" in said.complaint
    said = forked("export", "--format", "ncnn", cwd=there)  # the recipe asks for int8 too
    assert said.code == 0, said.err
    assert "no int8 in format ncnn: target local takes fp32, fp16 in it" in said.err
    said = forked("export", "--format", "ncnn", "--embed-preprocessing", cwd=there)
    assert said.code != 0
    assert "cannot be embedded in format 'ncnn'" in said.complaint
