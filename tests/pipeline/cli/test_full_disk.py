"""A disk that fills up in the middle of the road."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.run_folder.folder import RunFolder
from smskd.training.stage_files import METRICS


@pytest.mark.slow
def test_a_full_disk_stops_with_its_own_code_and_with_more_space_it_goes_on(
    small_disk, compress, road, tiny: str, tmp_path: Path
) -> None:
    folder, resize = small_disk
    resize("1600k")
    (tmp_path / "tiny.toml").write_text(tiny)
    command = ("distill", "tiny.toml", "--run", folder / "run")
    said = compress(*command, cwd=tmp_path)
    assert said.code == 18, said.err
    assert str(folder) in said.complaint
    assert "no space left" in said.complaint

    # Data and teacher found room; they are whole, and stay.
    run = RunFolder(folder / "run")
    made = [run.data / "facts.json", run.teacher / "weights.safetensors", run.teacher / METRICS]
    assert not run.student.exists()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in made}
    assert not list(folder.rglob("*.tmp"))
    resize("20m")
    said = compress(*command, cwd=tmp_path)
    assert said.code == 0, said.err
    assert "teacher: labels" not in said.err
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in made} == before

    # Stopped or not, the student is the same.
    assert run.student.read_bytes() == road.run.student.read_bytes()
