"""A teacher that takes larger images than its student, from training to measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.bundle import open_bundle
from pipeline.run_folder.folder import RunFolder

SIZES = ("--set", "data.image_size=8", "--set", "data.teacher_image_size=16")


@pytest.mark.slow
def test_a_student_of_small_images_ships_while_its_teacher_sees_larger_ones(
    compress, tiny: str, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(tiny)
    said = compress("run", "tiny.toml", *SIZES, "--set", "data.teacher_views=2", cwd=tmp_path)
    assert said.code == 0, said.err
    run = RunFolder(tmp_path / "runs/tiny")
    sizes = {
        bundle.manifest.role: bundle.manifest.preprocessing.height
        for bundle in map(open_bundle, run.bundle_folders())
    }
    assert sizes == {"student": 8, "teacher": 16}
    assert len(run.measurement_paths()) == len(run.bundle_folders())
