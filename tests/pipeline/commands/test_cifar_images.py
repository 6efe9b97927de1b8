"""A folder of real photographs, where they are at hand."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.data.facts import read_facts
from pipeline.run_folder.folder import RunFolder

ARCHIVE = Path(__file__).parents[4] / "shared/data/cifar10-images.tar.xz"
WANTED = {"train": 20, "test": 10}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer",
           "dog", "frog", "horse", "ship", "truck")  # fmt: skip


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """Twenty training and ten test images of each class of CIFAR-10."""
    if not ARCHIVE.is_file():
        pytest.skip("shared/data/cifar10-images.tar.xz is not beside the repository")
    taken: Counter[str] = Counter()
    with tarfile.open(ARCHIVE, "r|xz") as archive:
        for member in archive:
            split, *rest = Path(member.name).parts
            folder = str(Path(member.name).parent)
            if len(rest) == 2 and taken[folder] < WANTED[split]:
                taken[folder] += 1
                archive.extract(member, tmp_path / "cifar", filter="data")
            if taken.total() == len(CLASSES) * sum(WANTED.values()):
                break
    return tmp_path / "cifar"


def test_photographs_in_folders_are_learned_from(cifar: Path, compress, tmp_path: Path) -> None:
    said = compress(
        "distill", "--data", f"folder:{cifar}", "--teacher", "resnet8", "--teacher-epochs", 1,
        "--epochs", 1, "--run", "run", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said.err
    run = RunFolder(tmp_path / "run")
    facts = read_facts(run.data)
    assert facts.classes == list(CLASSES)
    assert facts.counts == {"train": 180, "student_train": 180, "validation": 20, "test": 100}
    shape = facts.preprocessing
    assert (shape.height, shape.width, shape.channels) == (32, 32, 3)
    # Photographs: no channel is nearly black or white, and each varies.
    assert all(0.3 < mean < 0.7 for mean in shape.mean)
    assert all(0.15 < deviation < 0.35 for deviation in shape.std)
    assert [folder.name for folder in sorted(run.stages.iterdir())] == ["1-fitnet", "2-kd"]
    assert said.json()["networks"]["student"]["test"]["n"] == 100
