from __future__ import annotations

import json
from pathlib import Path

import imagenet_steps
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(3):
        pixels = random.integers(0, 255, (240, 260, 3), np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.JPEG")
    return tmp_path / "photos"


def test_every_stage_of_the_recipe_is_run_and_timed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "figures.json"
    imagenet_steps.main([str(photos), "--steps=2", "--batch-size=2", f"--json={written}"])
    figures = json.loads(written.read_text())
    speeds = figures["images_per_second"]
    assert list(speeds) == ["batches alone", "fitnet", "kd, with reference"]
    # To make batches is a part of every stage.
    assert all(0 < speed < speeds["batches alone"] for speed in list(speeds.values())[1:])
    assert "2 steps a stage, batch 2, bf16" in capsys.readouterr().out


def test_all_is_the_recipes_but_the_number_of_steps(photos: Path) -> None:
    recipe = imagenet_steps.recipe_of(None)
    assert (recipe.teacher.model, recipe.student.model) == (
        "torchvision/resnet34",
        "torchvision/resnet18",
    )
    batches = imagenet_steps.batches_of(photos, recipe, 5)
    assert len(batches) == 5
    assert batches.samples == 5 * recipe.data.batch_size == 5 * 256
    assert batches.augment.crop_min_area is not None and batches.augment.flip


def test_a_folder_without_photos_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no photos"):
        imagenet_steps.main([str(tmp_path)])
