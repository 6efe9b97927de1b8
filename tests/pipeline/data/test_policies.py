from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from foundation.errors import UnknownNameError
from pipeline.data import policies
from pipeline.data.augment import augmented
from pipeline.data.policies import (
    AUGMIX,
    MAGNITUDES,
    POLICIES,
    RANDAUGMENT,
    TRIVIALAUGMENT,
    DrawnOperation,
)
from pipeline.recipe.sections.data import AugmentRecipe

NAMES = ["randaugment", "trivialaugment", "augmix"]
IDS = np.arange(60)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 16, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("policy", NAMES)
class TestAPolicy:
    def test_is_a_function_of_seed_sample_and_view_alone(self, images, policy: str) -> None:
        recipe = AugmentRecipe(policy=policy)
        once = augmented(images, IDS, 1, 2, recipe)
        # Whatever else draws numbers, from whatever generator.
        random.seed(9)
        np.random.seed(9)
        torch.manual_seed(9)
        np.testing.assert_array_equal(augmented(images, IDS, 1, 2, recipe), once)
        some = np.array([41, 3, 17])
        np.testing.assert_array_equal(augmented(images[some], some, 1, 2, recipe), once[some])
        for seed, view in ((2, 2), (1, 3)):
            assert (augmented(images, IDS, seed, view, recipe) != once).any()

    def test_is_the_same_in_many_threads_at_once(self, images, policy: str) -> None:
        recipe = AugmentRecipe(policy=policy, hue=0.2, contrast=0.4)
        alone = augmented(images, IDS, 1, 2, recipe)
        together = threading.Barrier(4)

        def views(_number: int) -> np.ndarray:
            together.wait()
            return augmented(images, IDS, 1, 2, recipe)

        with ThreadPoolExecutor(4) as pool:
            for result in pool.map(views, range(4)):
                np.testing.assert_array_equal(result, alone)

    def test_leaves_the_generators_as_they_were(self, images, policy: str) -> None:
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        augmented(images, IDS, 0, 0, AugmentRecipe(policy=policy))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()
        assert random.getstate() == before[2]

    def test_varies_images_each_in_its_own_way(self, images, policy: str) -> None:
        same = np.repeat(images[:1], 60, axis=0)
        views = augmented(same, IDS, 0, 0, AugmentRecipe(policy=policy))
        assert len(np.unique(views.reshape(60, -1), axis=0)) > 20

    def test_takes_grey_images(self, images, policy: str) -> None:
        views = augmented(images[..., :1], IDS, 0, 0, AugmentRecipe(policy=policy))
        assert (views.shape, views.dtype) == ((60, 16, 12, 1), np.uint8)
        assert (views != images[..., :1]).any()

    def test_leaves_the_original_as_it_is(self, images, policy: str) -> None:
        before = images.copy()
        augmented(images, IDS, 0, 0, AugmentRecipe(policy=policy))
        np.testing.assert_array_equal(images, before)


def changed_pixels(images: np.ndarray, **settings: int) -> float:
    views = augmented(images, IDS, 0, 0, AugmentRecipe(policy="randaugment", **settings))
    return float(np.abs(views.astype(int) - images).mean())


def test_magnitude_and_operations_make_randaugment_stronger(images) -> None:
    smooth = np.sort(images, axis=1)
    assert changed_pixels(smooth, magnitude=1) < changed_pixels(smooth, magnitude=25)
    assert changed_pixels(smooth, operations=1) < changed_pixels(smooth, operations=4)


def test_no_two_policies_are_alike(images) -> None:
    views = [augmented(images, IDS, 0, 0, AugmentRecipe(policy=name)) for name in NAMES]
    for first, second in itertools.combinations(views, 2):
        assert (first != second).any()


def test_an_unknown_policy_is_told_with_the_nearest_name(images) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'randaugment'"):
        augmented(images, IDS, 0, 0, AugmentRecipe(policy="randaugmnt"))


OURS = {
    "Identity": "identity", "ShearX": "shear-x", "ShearY": "shear-y",
    "TranslateX": "translate-x", "TranslateY": "translate-y", "Rotate": "rotate",
    "Brightness": "brightness", "Color": "colour", "Contrast": "contrast",
    "Sharpness": "sharpness", "Posterize": "posterize", "Solarize": "solarize",
    "AutoContrast": "autocontrast", "Equalize": "equalize",
}  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "reference", "bins"),
    [
        (RANDAUGMENT, v2.RandAugment, 31),
        (TRIVIALAUGMENT, v2.TrivialAugmentWide, 31),
        (AUGMIX, v2.AugMix, 10),
    ],
)
def test_a_policy_draws_from_the_space_of_torchvisions(
    ours: dict[str, DrawnOperation], reference: type, bins: int
) -> None:
    width, height = 331, 200
    theirs = reference._AUGMENTATION_SPACE
    assert sorted(ours) == sorted(OURS[name] for name in theirs)
    for name, (strengths, signed) in theirs.items():
        choice = ours[OURS[name]]
        side = (width, height)[choice.side]
        assert choice.signed == signed, name
        expected = strengths(bins, height, width)
        if expected is None:
            continue
        scale = 255 if name == "Solarize" else 1
        for level in range(bins):
            value = choice.strength(level / (bins - 1), side)
            assert value == pytest.approx(float(expected[level]) * scale, abs=1e-4), (name, level)


class TestWhatIsDrawn:
    @pytest.fixture
    def log(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
        """Each operation that is done, with its strength; pictures stay as they are."""
        lines: list[tuple[str, float]] = []

        class Recorder:
            def get(self, name: str):
                return lambda picture, strength: lines.append((name, strength)) or picture

        monkeypatch.setattr(policies, "OPERATIONS", Recorder())
        return lines

    def test_every_operation_is_as_likely_as_any_other(self, log) -> None:
        images = np.zeros((3000, 8, 8, 3), np.uint8)
        augmented(images, np.arange(3000), 0, 0, AugmentRecipe(policy="randaugment", operations=2))
        counts = Counter(name for name, _ in log)
        assert sum(counts.values()) == 6000
        assert counts.keys() == RANDAUGMENT.keys()
        expected = 6000 / len(RANDAUGMENT)
        assert all(abs(count - expected) < 0.2 * expected for count in counts.values())

    def test_signs_and_levels_are_drawn_evenly(self, log) -> None:
        images = np.zeros((6000, 8, 8, 3), np.uint8)
        augmented(images, np.arange(6000), 0, 0, AugmentRecipe(policy="trivialaugment"))
        turns = [strength for name, strength in log if name == "rotate"]
        levels = Counter(round(abs(turn) / 135 * (MAGNITUDES - 1)) for turn in turns)
        assert len(levels) == MAGNITUDES
        assert 0.4 < sum(turn < 0 for turn in turns) / len(turns) < 0.6

    def test_randaugment_has_one_strength(self, log) -> None:
        images = np.zeros((500, 8, 8, 3), np.uint8)
        recipe = AugmentRecipe(policy="randaugment", magnitude=15)
        augmented(images, np.arange(500), 0, 0, recipe)
        assert {abs(strength) for name, strength in log if name == "rotate"} == {15.0}

    def test_augmix_has_chains_of_one_to_three(self, log) -> None:
        images = np.zeros((300, 8, 8, 3), np.uint8)
        augmented(images, np.arange(300), 0, 0, AugmentRecipe(policy="augmix"))
        assert 1.8 < len(log) / 900 < 2.2


def test_augmix_is_a_blend_of_the_picture_and_its_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blackened:
        def get(self, _name: str):
            return lambda picture, _strength: Image.new("L", picture.size)

    monkeypatch.setattr(policies, "OPERATIONS", Blackened())
    # The first two draws share out picture and chains: ln 2 to 2 ln 2.
    draws = itertools.chain([0.5, 0.75], itertools.repeat(0.25))
    mixed = POLICIES.get("augmix")(Image.new("L", (2, 2), 240), draws, AugmentRecipe())
    assert np.asarray(mixed).tolist() == [[80, 80], [80, 80]]
