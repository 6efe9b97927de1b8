"""One tiny study, carried out once by the real command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

STUDY = """\
[data]
name = "digits"
image_size = 8
student_fraction = 0.05
batch_size = 32
teacher_views = 2

[teacher]
model = "resnet8"
training = { epochs = 1 }

[student]
model = "resnet8"

[[stages]]
methods = "kd"
epochs = 1

[[stages]]
methods = "at"
epochs = 1

[study]
seeds = 2
arms = ["kd", "smskd-tcp"]
"""


@dataclass(frozen=True)
class Study:
    """A study's folder and what the command said; to be read, not changed."""

    path: Path
    said: Any

    @property
    def found(self) -> dict[str, Any]:
        return json.loads((self.path / "study.json").read_text())


@pytest.fixture(scope="session")
def small() -> str:
    """The text of a recipe for a study of seconds: two arms, two seeds, two epochs."""
    return STUDY


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, compress) -> Study:
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(STUDY)
    said = compress("study", "small.toml", "--jobs", "2", "--json", cwd=folder)
    assert said.code == 0, said.err
    return Study(folder / "runs/small", said)
