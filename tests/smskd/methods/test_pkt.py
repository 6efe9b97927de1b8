from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.pkt import PKT, neighbour_probabilities, pkt_loss


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Loops over pairs of samples, in plain Python."""
    rng = np.random.default_rng(0)
    embeddings = [rng.standard_normal((4, 3)), rng.standard_normal((4, 5))]

    def probabilities(e: np.ndarray) -> list[list[float]]:
        def dot(i: int, j: int) -> float:
            return sum(a * b for a, b in zip(e[i], e[j], strict=True))

        r = range(len(e))
        kernel = [[(dot(i, j) / math.sqrt(dot(i, i) * dot(j, j)) + 1) / 2 for j in r] for i in r]
        return [[k / sum(row) for k in row] for row in kernel]

    s, t = map(probabilities, embeddings)
    terms = [t[i][j] * math.log(t[i][j] / s[i][j]) for i in range(4) for j in range(4)]
    loss = pkt_loss(*map(torch.from_numpy, embeddings))
    assert loss.item() == pytest.approx(sum(terms) / 16, rel=1e-9)


def test_the_probabilities_of_a_samples_neighbours_sum_to_one() -> None:
    torch.manual_seed(0)
    sums = neighbour_probabilities(torch.randn(4, 3)).sum(1)
    torch.testing.assert_close(sums, torch.ones(4))


def test_the_length_of_an_embedding_says_nothing() -> None:
    torch.manual_seed(0)
    embedding = torch.randn(5, 3, dtype=torch.float64)
    lengths = torch.tensor([[0.01], [1.0], [2.0], [30.0], [4.0]], dtype=torch.float64)
    assert abs(pkt_loss(lengths * embedding, embedding).item()) < 1e-15
    assert pkt_loss(embedding.flip(0), embedding).item() > 1e-3


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn() -> None:
    torch.manual_seed(0)
    said = torch.randn(5, 3)
    student = said.clone().requires_grad_()
    loss = pkt_loss(student, said)
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad.abs().max() < 1e-7


def test_a_sample_alone_is_its_only_neighbour() -> None:
    embedding = torch.randn(1, 4, requires_grad=True)
    loss = pkt_loss(embedding, torch.randn(1, 6))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-7)
    assert embedding.grad.abs().max() < 1e-6


def test_opposite_samples_are_improbable_but_not_impossible() -> None:
    student = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    assert neighbour_probabilities(student)[0, 1].item() == pytest.approx(1e-7, rel=0.01)
    loss = pkt_loss(student, torch.tensor([[1.0, 0.0], [1.0, 0.1]]))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_nearly_opposite_samples_are_pulled_with_bounded_force() -> None:
    for angle in (1e-2, 1e-3, 1e-4, 1e-6):
        student = torch.tensor([[1.0, 0.0], [-1.0, angle]], requires_grad=True)
        pkt_loss(student, torch.tensor([[1.0, 0.0], [1.0, 0.1]])).backward()
        assert student.grad.abs().max() < 1e4


def test_samples_that_are_all_the_same_or_at_rest_give_finite_gradients() -> None:
    teacher = torch.randn(4, 5)
    for student in (torch.ones(4, 3), torch.zeros(4, 3), torch.eye(4, 3)):
        student.requires_grad_()
        loss = pkt_loss(student, teacher)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.abs().max() < 10


def test_embeddings_of_any_size_give_a_finite_loss() -> None:
    student = (1e4 * torch.randn(4, 8)).requires_grad_()
    loss = pkt_loss(student, -1e4 * student.detach())
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_the_method_compares_embeddings_and_no_labels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4), torch.randn(3, 6)
    mixed = Batch(torch.zeros(3, 1, 2, 2), torch.full((3, 4), 0.25))
    said = [Signals(torch.randn(3, 4), embedding=given) for given in (student, teacher)]
    loss = PKT()(*said, mixed, Progress(0.0, 1))
    assert torch.equal(loss, pkt_loss(student, teacher))
    assert PKT.relates_samples
    assert PKT.needs == ("embedding",)


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(PKT)}
    assert settings == {}
    assert PKT.default_weight == 30000.0
