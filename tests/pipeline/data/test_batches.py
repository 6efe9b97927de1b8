from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from foundation.bundle import Preprocessing
from foundation.errors import RecipeError, UnreadableImageError
from pipeline.data import batches as batches_module
from pipeline.data.augment import augmented
from pipeline.data.batches import EvaluationBatches, TrainBatches
from pipeline.data.cropping import RandomCrop
from pipeline.data.erasing import erase
from pipeline.data.framing import Fit
from pipeline.data.images import ArrayImages
from pipeline.data.mixing import drawn_mixing
from pipeline.data.normalising import normalised
from pipeline.recipe.sections.data import AugmentRecipe
from smskd.batch import Batch

PLAIN = Preprocessing(4, 4, 1, [0.0], [1.0])


def numbered(count: int) -> ArrayImages:
    """Images that can be told apart by their label, which is their number."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 1), np.uint8)
    return ArrayImages(pixels, np.arange(count))


def noise(count: int, size: int = 8, classes: int = 3) -> ArrayImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ArrayImages(pixels, np.arange(count) % classes)


COLOUR = Preprocessing(8, 8, 3, [0.4, 0.5, 0.6], [0.2, 0.3, 0.25])


def train(count: int = 21, batch_size: int = 8, seed: int = 0, **augment: int) -> TrainBatches:
    return TrainBatches(numbered(count), PLAIN, AugmentRecipe(**augment), batch_size, seed)


def of_noise(count: int = 30, batch_size: int = 8, seed: int = 0, **settings) -> TrainBatches:
    augment = settings.pop("augment", AugmentRecipe(shift=2, flip=True))
    preprocessing = settings.pop("preprocessing", COLOUR)
    return TrainBatches(noise(count), preprocessing, augment, batch_size, seed, **settings)


def at(batches: TrainBatches, epoch: int) -> list[Batch]:
    batches.set_epoch(epoch)
    return list(batches)


def order_of(batches: TrainBatches, epoch: int) -> list[int]:
    return [int(label) for batch in at(batches, epoch) for label in batch.labels]


def by_id(batches: list[Batch]) -> dict[int, torch.Tensor]:
    return {
        int(number): image
        for batch in batches
        for number, image in zip(batch.ids, batch.images, strict=True)
    }


def same(first: dict[int, torch.Tensor], second: dict[int, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[i], second[i]) for i in first)


def test_every_image_comes_once_an_epoch_with_its_own_label_and_id() -> None:
    batches = train()
    assert sorted(order_of(batches, 0)) == list(range(21))
    for batch in batches:
        assert isinstance(batch, Batch)
        torch.testing.assert_close(batch.images[:, 0, 0, 0] * 255, batch.labels.float())
        assert torch.equal(batch.ids, batch.labels)
        assert (batch.view, batch.teacher_images) == (None, None)
    assert batches.samples == 21


def test_the_order_changes_with_the_epoch_and_repeats_with_it() -> None:
    batches = train()
    first, second = order_of(batches, 0), order_of(batches, 1)
    assert first != second
    assert first != list(range(21))
    assert order_of(batches, 0) == first
    assert order_of(train(), 1) == second


def test_the_order_changes_with_the_seed() -> None:
    assert order_of(train(seed=1), 0) != order_of(train(seed=2), 0)


def test_views_change_with_the_epoch_and_repeat_with_it() -> None:
    batches = of_noise()
    first = by_id(at(batches, 0))
    assert same(by_id(at(batches, 0)), first)
    assert not same(by_id(at(batches, 1)), first)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(21, 8, [7, 7, 7]), (17, 8, [6, 6, 5]), (16, 8, [8, 8]), (3, 8, [3]), (130, 32, [26] * 5)],
)
def test_batches_are_even_so_that_none_is_left_with_an_image_or_two(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    batches = train(count, batch_size)
    assert [len(batch.labels) for batch in batches] == sizes
    assert len(batches) == len(sizes)


@pytest.mark.parametrize(
    ("count", "batch_size", "world", "sizes"),
    [
        (51, 2, 1, [3] + [2] * 24),  # an odd number leaves none alone
        (3, 2, 1, [3]),
        (2, 2, 1, [2]),
        (5, 4, 2, [4]),  # a share of two for each process
        (51, 8, 4, [8] * 6),
        (3, 1, 1, [1, 1, 1]),  # asked for in so many words
        (5, 3, 2, [2, 2]),  # as many as there are processes, give or take
    ],
)
def test_no_process_is_left_with_a_single_image(
    count: int, batch_size: int, world: int, sizes: list[int]
) -> None:
    of_all = [
        [len(batch.labels) for batch in of_noise(count, batch_size, share=(rank, world))]
        for rank in range(world)
    ]
    assert all(shares == of_all[0] for shares in of_all)
    assert [each * world for each in of_all[0]] == sizes


def test_what_is_other_than_asked_for_is_told() -> None:
    remark = of_noise(51, 2).remark
    assert remark is not None
    assert "51 images in batches of 2" in remark and "25 batches of up to 3" in remark
    assert of_noise(50, 2).remark is None
    assert of_noise(3, 1).remark is None


def test_images_are_prepared_as_the_bundle_will_prepare_them() -> None:
    preprocessing = Preprocessing(4, 4, 1, [0.25], [0.5])
    images = ArrayImages(np.full((1, 4, 4, 1), 255, np.uint8), np.zeros(1, np.int64))
    ((images, labels, *_),) = TrainBatches(images, preprocessing, AugmentRecipe(), 8, 0)
    torch.testing.assert_close(images, torch.full((1, 1, 4, 4), 1.5))
    assert labels.tolist() == [0]
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)


def test_normalising_gives_what_the_bundles_preprocessing_gives() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    expected = torch.from_numpy(COLOUR.apply(pixels))
    for given in (pixels, np.asfortranarray(pixels)):
        found = normalised(given, COLOUR)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert found.is_contiguous(memory_format=torch.channels_last)


class TestFixedViews:
    def test_come_back_in_turn_for_all_samples(self) -> None:
        batches = of_noise(views=3)
        seen = [at(batches, epoch) for epoch in range(6)]
        assert [{batch.view for batch in epoch} for epoch in seen] == [{0}, {1}, {2}] * 2
        images = [by_id(epoch) for epoch in seen]
        assert all(same(images[epoch], images[epoch + 3]) for epoch in range(3))
        assert not same(images[0], images[1])
        # But never in the same order.
        assert seen[0][0].ids.tolist() != seen[3][0].ids.tolist()

    def test_are_those_of_their_seed_and_not_of_the_runs(self) -> None:
        first, second, other = (
            by_id(at(of_noise(seed=seed, views=2, view_seed=view_seed), epoch))
            for seed, view_seed, epoch in ((4, 7, 0), (5, 7, 1), (4, 8, 0))
        )
        assert same(first, second)
        assert not same(first, other)

    def test_begin_with_another_for_another_run(self) -> None:
        assert [at(of_noise(seed=seed, views=4), 1)[0].view for seed in (0, 1, 6)] == [1, 2, 3]

    def test_are_given_in_order_to_be_listened_to(self) -> None:
        batches = of_noise(count=300, views=2, view_seed=5)
        recorded = list(batches.view_batches(1))
        assert [len(batch.labels) for batch in recorded] == [256, 44]
        assert torch.cat([batch.ids for batch in recorded]).tolist() == list(range(300))
        assert {batch.view for batch in recorded} == {1}
        assert torch.cat([batch.labels for batch in recorded]).tolist() == [
            i % 3 for i in range(300)
        ]
        assert same(by_id(recorded), by_id(at(batches, 1)))
        assert not same(by_id(recorded), by_id(at(batches, 0)))

    def test_do_not_depend_on_the_epoch_when_listened_to(self) -> None:
        batches = of_noise(views=2)
        before = by_id(list(batches.view_batches(0)))
        batches.set_epoch(9)
        assert same(before, by_id(list(batches.view_batches(0))))

    @pytest.mark.parametrize(("views", "view"), [(None, 0), (2, 2), (2, -1)])
    def test_that_are_not_there_are_refused(self, views: int | None, view: int) -> None:
        with pytest.raises(ValueError, match=f"got {view}"):
            next(of_noise(views=views).view_batches(view))

    def test_and_mixing_are_refused_together(self) -> None:
        with pytest.raises(RecipeError, match=r"cutmix.*2 fixed views"):
            of_noise(views=2, augment=AugmentRecipe(mix="cutmix"))


def at_size(size: int) -> Preprocessing:
    return replace(COLOUR, height=size, width=size)


class TestSizes:
    def test_the_teacher_sees_the_same_view_at_its_own_size(self) -> None:
        (whole,) = of_noise(batch_size=30)
        (batch,) = of_noise(batch_size=30, preprocessing=at_size(4), teacher=at_size(8))
        assert torch.equal(batch.ids, whole.ids)
        assert torch.equal(batch.teacher_images, whole.images)
        expected = F.interpolate(whole.images, (4, 4), mode="bilinear", antialias=True)
        torch.testing.assert_close(batch.images, expected)

    @pytest.mark.parametrize(
        ("student", "teacher", "expected"),
        [(8, None, (8, None)), (4, 8, (4, 8)), (8, 12, (8, 12)), (4, 4, (4, None)),
         (12, 8, (12, 8))],
    )  # fmt: skip
    def test_none_is_the_students_and_one_of_the_same_size_is_not_given_twice(
        self, student: int, teacher: int | None, expected: tuple[int, int | None]
    ) -> None:
        own = None if teacher is None else at_size(teacher)
        batch = next(iter(of_noise(preprocessing=at_size(student), teacher=own)))
        given = batch.teacher_images
        assert (batch.images.shape[2], None if given is None else given.shape[3]) == expected

    def test_the_teacher_has_its_own_mean_and_deviation(self) -> None:
        teacher = replace(at_size(4), mean=[0.5, 0.1, 0.2], std=[0.5, 0.4, 1.0])
        (batch,) = of_noise(batch_size=30, teacher=teacher)
        (expected,) = of_noise(batch_size=30, preprocessing=teacher, teacher=COLOUR)
        torch.testing.assert_close(batch.teacher_images, expected.images, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(expected.teacher_images, batch.images, atol=1e-5, rtol=1e-5)

    def test_images_that_were_mixed_are_so_for_the_teacher_too(self) -> None:
        augment = AugmentRecipe(mix="cutmix")
        (whole,) = of_noise(batch_size=30, augment=augment)
        (batch,) = of_noise(
            batch_size=30, augment=augment, preprocessing=at_size(4), teacher=COLOUR
        )
        assert torch.equal(batch.teacher_images, whole.images)
        expected = F.interpolate(whole.images, (4, 4), mode="bilinear", antialias=True)
        torch.testing.assert_close(batch.images, expected)

    def test_what_is_recorded_of_a_view_is_at_both_sizes(self) -> None:
        batches = of_noise(views=1, preprocessing=at_size(4), teacher=COLOUR)
        trained = {
            int(i): image
            for batch in batches
            for i, image in zip(batch.ids, batch.teacher_images, strict=True)
        }
        (recorded,) = batches.view_batches(0)
        assert recorded.images.shape[2:] == (4, 4)
        assert same(dict(enumerate(recorded.teacher_images)), trained)


class TestMixing:
    MIX = AugmentRecipe(shift=2, mix="mixup")

    def test_each_image_is_mixed_with_the_next_and_so_are_the_labels(self) -> None:
        plain = at(of_noise(augment=AugmentRecipe(shift=2)), 3)
        for number, (batch, alone) in enumerate(
            zip(at(of_noise(augment=self.MIX), 3), plain, strict=True)
        ):
            keep = drawn_mixing(0, 3, number, self.MIX).keep
            assert torch.equal(batch.ids, alone.ids)
            partners = alone.images.roll(-1, 0)
            torch.testing.assert_close(batch.images, keep * alone.images + (1 - keep) * partners)
            own = F.one_hot(alone.labels, 3).float()
            torch.testing.assert_close(batch.labels, keep * own + (1 - keep) * own.roll(-1, 0))
            assert batch.mixed
            assert batch.view is None

    def test_every_batch_and_epoch_is_mixed_anew_and_repeats(self) -> None:
        batches = of_noise(augment=AugmentRecipe(mix="mixup+cutmix"))
        first = at(batches, 1)
        shares = [float(batch.labels.max(1).values.min()) for batch in [*first, *at(batches, 2)]]
        assert len(set(shares)) > 3
        again = at(of_noise(augment=AugmentRecipe(mix="mixup+cutmix")), 1)
        assert all(torch.equal(a.images, b.images) for a, b in zip(first, again, strict=True))
        assert all(torch.equal(a.labels, b.labels) for a, b in zip(first, again, strict=True))

    def test_there_are_as_many_classes_as_was_said(self) -> None:
        assert next(iter(of_noise(augment=self.MIX, classes=7))).labels.shape == (8, 7)
        assert next(iter(of_noise(augment=self.MIX))).labels.shape == (8, 3)


class TestSeveralProcesses:
    @pytest.mark.parametrize("augment", [{}, {"mix": "mixup"}, {"mix": "cutmix"}], ids=str)
    @pytest.mark.parametrize("world", [2, 4])
    def test_see_together_what_one_sees(self, world: int, augment: dict[str, str]) -> None:
        settings = {"augment": AugmentRecipe(shift=2, flip=True, **augment), "count": 32}
        alone = at(of_noise(**settings), 1)
        ranks = [at(of_noise(**settings, share=(rank, world)), 1) for rank in range(world)]
        for number, whole in enumerate(alone):
            parts = [rank[number] for rank in ranks]
            assert {len(part.labels) for part in parts} == {8 // world}
            for field in ("ids", "images", "labels"):
                together = torch.cat([getattr(part, field) for part in parts])
                assert torch.equal(together, getattr(whole, field)), field

    def test_share_the_fixed_views(self) -> None:
        alone = by_id(at(of_noise(count=32, views=2), 3))
        parts = [by_id(at(of_noise(count=32, views=2, share=(rank, 2)), 3)) for rank in (0, 1)]
        assert same({**parts[0], **parts[1]}, alone)

    def test_all_have_as_many_images_and_steps_whatever_is_left_over(self) -> None:
        for count, batch_size in ((23, 8), (5, 5), (1, 8), (3, 2)):
            ranks = [list(of_noise(count, batch_size, share=(rank, 3))) for rank in range(3)]
            sizes = [[len(batch.labels) for batch in rank] for rank in ranks]
            assert sizes[0] == sizes[1] == sizes[2]
            assert min(sizes[0]) >= 1

    def test_no_image_is_seen_by_two_of_them(self) -> None:
        ranks = [by_id(at(of_noise(23, share=(rank, 3)), 0)).keys() for rank in range(3)]
        assert all(not first & second for first, second in pairwise([*ranks, ranks[0]]))


EVERYTHING = AugmentRecipe(
    shift=2, flip=True, rotate=9.0, crop_min_area=0.4, brightness=0.3, policy="trivialaugment",
    erase=0.5,
)  # fmt: skip


def test_all_kinds_of_augmentation_reach_the_batches() -> None:
    batches, images = of_noise(augment=EVERYTHING), noise(30)
    erased_somewhere = False
    for batch in at(batches, 4):
        ids = batch.ids.numpy()
        crops = RandomCrop.of(Fit(8, 8), 0.4, ids, 0, 4)
        views = augmented(images.read(ids, crops), ids, 0, 4, EVERYTHING)
        expected = normalised(views, COLOUR)
        unerased = expected.clone()
        erase(expected.permute(0, 2, 3, 1).numpy(), ids, 0, 4, 0.5)
        erased_somewhere |= not torch.equal(expected, unerased)
        assert torch.equal(batch.images, expected)
    assert erased_somewhere


def test_a_batch_that_is_made_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = by_id(at(of_noise(augment=EVERYTHING), 2))
    for size in (1, 3 * 8 * 8 * 3, 2**30):
        monkeypatch.setattr(batches_module, "_CHUNK_BYTES", size)
        assert same(by_id(at(of_noise(augment=EVERYTHING), 2)), whole)


def test_what_fails_in_a_piece_is_told_where_the_batch_would_have_come() -> None:
    class Torn(ArrayImages):
        def read(self, ids, framing=None):
            if 7 in ids:
                raise UnreadableImageError("7.jpg: not a readable image")
            return super().read(ids, framing)

    images = Torn(noise(30).pixels, noise(30).labels)
    batches = TrainBatches(images, COLOUR, AugmentRecipe(), 8, 0)
    with pytest.raises(UnreadableImageError, match=r"7\.jpg"):
        list(batches)


class TestCropsOfASizeOfTheirOwn:
    SMALL = AugmentRecipe(crop_min_area=0.3, crop_size=5)

    def test_are_what_both_networks_learn_from(self) -> None:
        for batch in of_noise(augment=self.SMALL):
            assert batch.images.shape[2:] == (5, 5)
            assert batch.seen_by_teacher.shape[2:] == (5, 5)

    def test_are_cut_from_the_picture_at_once(self) -> None:
        images = noise(30)
        (batch, *_) = of_noise(augment=self.SMALL)
        ids = batch.ids.numpy()
        pixels = images.read(ids, RandomCrop.of(Fit(5, 5), 0.3, ids, 0, 0))
        assert torch.equal(batch.images, normalised(pixels, replace(COLOUR, height=5, width=5)))

    def test_need_networks_of_one_size(self) -> None:
        with pytest.raises(RecipeError, match="the teacher takes 16×16 and the student 8×8"):
            of_noise(augment=self.SMALL, teacher=replace(COLOUR, height=16, width=16))


class TestEvaluation:
    def test_gives_all_images_once_in_order_and_unvaried(self) -> None:
        images = ArrayImages(
            np.random.default_rng(0).integers(0, 256, (300, 4, 4, 1), np.uint8), np.arange(300)
        )
        batches = EvaluationBatches(images, PLAIN)
        assert [len(labels) for _, labels in batches] == [256, 44]
        assert len(batches) == 2
        torch.testing.assert_close(
            torch.cat([x for x, _ in batches]), torch.from_numpy(PLAIN.apply(images.pixels))
        )
        assert torch.cat([y for _, y in batches]).tolist() == list(range(300))

    def test_brings_images_to_the_size_that_the_network_takes(self) -> None:
        ((images, _),) = EvaluationBatches(noise(3, size=16), COLOUR)
        assert images.shape == (3, 3, 8, 8)
