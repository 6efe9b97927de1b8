from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.rkd import RKD, angles, relative_distances, rkd_loss

# A right triangle with sides 3, 4 and 5; the mean of the six non-zero distances is 4.
TRIANGLE = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


def test_distances_are_in_units_of_their_mean() -> None:
    expected = np.array([[0, 3, 4], [3, 0, 5], [4, 5, 0]]) / 4
    np.testing.assert_allclose(relative_distances(TRIANGLE).numpy(), expected, rtol=1e-6)


def test_angles_are_the_triangles_cosines() -> None:
    cosines = angles(TRIANGLE)
    assert cosines[0, 1, 2].item() == pytest.approx(0.0, abs=1e-6)
    assert cosines[1, 0, 2].item() == pytest.approx(3 / 5)
    assert cosines[2, 0, 1].item() == pytest.approx(4 / 5)
    assert cosines[1, 2, 2].item() == pytest.approx(1.0)
    assert cosines[1, 1, 2].item() == 0.0


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Loops over pairs and triples of samples, in plain Python."""
    rng = np.random.default_rng(0)
    embeddings = [rng.standard_normal((4, 3)), rng.standard_normal((4, 5))]

    def huber(difference: float) -> float:
        size = abs(difference)
        return size**2 / 2 if size < 1 else size - 0.5

    def distance(e: np.ndarray, i: int, j: int) -> float:
        return math.sqrt(sum((a - b) ** 2 for a, b in zip(e[i], e[j], strict=True)))

    def cosine(e: np.ndarray, i: int, j: int, k: int) -> float:
        if j in {i, k}:
            return 0.0
        dot = sum((a - b) * (c - b) for a, b, c in zip(e[i], e[j], e[k], strict=True))
        return dot / (distance(e, i, j) * distance(e, k, j))

    r = range(4)
    means = [np.mean([distance(e, i, j) for i in r for j in r if i != j]) for e in embeddings]
    pairs = [[distance(e, i, j) / m for i in r for j in r] for e, m in zip(embeddings, means)]  # noqa: B905
    triples = [[cosine(e, i, j, k) for i in r for j in r for k in r] for e in embeddings]
    by_distance = np.mean([huber(s - t) for s, t in zip(*pairs, strict=True)])
    by_angle = np.mean([huber(s - t) for s, t in zip(*triples, strict=True)])

    loss = rkd_loss(*map(torch.from_numpy, embeddings), 25.0, 50.0)
    assert loss.item() == pytest.approx(25 * by_distance + 50 * by_angle, rel=1e-9)


def test_a_larger_or_turned_embedding_has_the_same_relations() -> None:
    torch.manual_seed(0)
    embedding = torch.randn(5, 3, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    assert rkd_loss(7 * embedding @ turn + 2, embedding, 25.0, 50.0).item() < 1e-20


def test_samples_that_are_all_the_same_have_no_distances_and_no_angles() -> None:
    embedding = torch.ones(3, 2, requires_grad=True)
    loss = rkd_loss(embedding, TRIANGLE, 25.0, 50.0)
    loss.backward()
    assert loss.isfinite()
    assert embedding.grad.isfinite().all()


def test_two_equal_samples_pull_no_harder_than_two_that_are_apart() -> None:
    embedding = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]], requires_grad=True)
    rkd_loss(embedding, TRIANGLE, 25.0, 50.0).backward()
    assert embedding.grad.abs().max() < 100


def test_a_weight_of_zero_leaves_its_relation_out() -> None:
    stretched = TRIANGLE * torch.tensor([1.0, 2.0])
    both = rkd_loss(stretched, TRIANGLE, 25.0, 50.0)
    parts = rkd_loss(stretched, TRIANGLE, 25.0, 0.0), rkd_loss(stretched, TRIANGLE, 0.0, 50.0)
    assert both.item() == pytest.approx(sum(part.item() for part in parts))
    assert all(part.item() > 0 for part in parts)


@pytest.mark.parametrize("name", ["distance_weight", "angle_weight"])
def test_a_negative_weight_is_quoted(name: str) -> None:
    with pytest.raises(ValueError, match=rf"must not be negative, but got .*{name}=-1"):
        RKD(**{name: -1.0})


def test_a_weight_of_zero_is_allowed() -> None:
    RKD(distance_weight=0.0, angle_weight=0.0)


def test_a_sample_alone_has_no_relations() -> None:
    embedding = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = rkd_loss(embedding, torch.tensor([[3.0, 1.0, 2.0]]), 25.0, 50.0)
    loss.backward()
    assert loss.item() == 0.0
    assert embedding.grad.abs().max() == 0.0


def test_the_method_compares_embeddings_and_no_labels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4), torch.randn(3, 6)
    mixed = Batch(torch.zeros(3, 1, 2, 2), torch.full((3, 4), 0.25))
    said = [Signals(torch.randn(3, 4), embedding=given) for given in (student, teacher)]
    loss = RKD(distance_weight=1.0, angle_weight=2.0)(*said, mixed, Progress(0.0, 1))
    assert torch.equal(loss, rkd_loss(student, teacher, 1.0, 2.0))


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(RKD)}
    assert settings == {"distance_weight": 25.0, "angle_weight": 50.0}
    assert RKD.default_weight == 1.0
