"""What the teacher says about fixed views is kept once, for all that would hear the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.models import build_model
from pipeline.recipe.file import load_recipe
from pipeline.training.prepare import TrainingData
from pipeline.training.teacher_views import keep_views
from smskd.distillation import pair_on
from smskd.listening import Listener
from smskd.teaching.teacher_views import TeacherViews

FEW = {"data.image_size": 8, "data.student_fraction": 0.05, "data.teacher_views": 2}


class Asked(Listener):
    """Counts the views that the teacher is asked about."""

    views = 0

    def view_done(self) -> None:
        self.views += 1


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model("resnet8", 10, 1), build_model("resnet8", 10, 1)


Keep = Callable[..., tuple[TeacherViews | None, int]]


@pytest.fixture
def keep(networks: tuple[nn.Module, nn.Module], tmp_path: Path) -> Keep:
    """Keeps the views of a recipe with some settings changed; and how many were asked anew."""

    def run(**settings: Any) -> tuple[TeacherViews | None, int]:
        overrides = FEW | {name.replace("__", "."): value for name, value in settings.items()}
        file = load_recipe(None, overrides)
        data = TrainingData(file)
        batches = data.batches(data.splits.student_train, file.recipe.seed)
        pair = pair_on(*networks, batches)
        asked = Asked()
        return keep_views(tmp_path, pair, batches, file.recipe, asked), asked.views

    return run


SAME = {
    "seed": 5,
    "data__batch_size": 16,
    "data__calibration_images": 10,
    "data__evaluation_images": 10,
    "data__teacher_views_gb": 1.0,
    "data__on_bad_image": "skip",
    "engine__channels_last": False,
}


@pytest.mark.parametrize("setting", SAME)
def test_what_the_teacher_would_say_again_is_not_asked_again(keep: Keep, setting: str) -> None:
    first, asked = keep()
    assert asked == 2
    again, asked = keep(**{setting: SAME[setting]})
    assert asked == 0
    assert again.folder == first.folder


OTHERS = {
    "data__augment__shift": 1,
    "data__split_seed": 1,
    "data__val_fraction": 0.2,
    "data__student_fraction": 0.06,
    "data__teacher_image_size": 16,
    "data__image_size": 10,
    "engine__precision": "bf16",
}


@pytest.mark.parametrize("setting", OTHERS)
def test_a_teacher_that_would_see_or_say_something_else_is_asked(keep: Keep, setting: str) -> None:
    first, _ = keep()
    other, asked = keep(**{setting: OTHERS[setting]})
    assert asked == 2
    assert other.folder != first.folder
    assert keep()[1] == 0, "what was kept first is still there"


def test_more_views_have_a_folder_of_their_own(keep: Keep) -> None:
    keep()
    more, asked = keep(data__teacher_views=3)
    assert (more.views, asked) == (3, 3)


def test_another_limit_is_another_folder_only_where_it_leaves_the_features_out(
    keep: Keep,
) -> None:
    whole, _ = keep()
    assert whole.has_features
    without, asked = keep(data__teacher_views_gb=0.0)
    assert (without.has_features, asked) == (False, 2)
    again, asked = keep(data__teacher_views_gb=1e-9)
    assert (again.folder, asked) == (without.folder, 0)
    assert keep()[1] == 0


def test_another_teacher_is_asked(keep: Keep, networks: tuple[nn.Module, nn.Module]) -> None:
    keep()
    weight = next(networks[0].parameters())
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.add_(1)
        assert keep()[1] == 2
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_without_fixed_views_nothing_is_kept(keep: Keep, tmp_path: Path) -> None:
    views, asked = keep(data__teacher_views=None)
    assert (views, asked) == (None, 0)
    assert not list(tmp_path.iterdir())
