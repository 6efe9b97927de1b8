from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from tiny_networks import Brightness
from torch import Tensor, nn

from foundation.errors import DataLayoutError, ModelMismatchError
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.crd import CRD, crd_loss, draw_negatives, estimated_log_normaliser, new_bank
from smskd.pair import make_pair

IMAGES = torch.zeros(2, 1, 4, 4)
SAMPLES = 20
START = Progress(0.0, 1)
IDS = torch.tensor([3, 17, 0, 8])
BATCH = Batch(torch.zeros(4, 1, 4, 4), torch.tensor([0, 1, 0, 2]), IDS)


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, width, 4), nn.ReLU(), nn.Flatten(), nn.Linear(width, 3))


def built(samples: int = SAMPLES, **settings: float) -> CRD:
    torch.manual_seed(0)
    method = CRD(**{"dims": 6, "negatives": 5, **settings})
    method.build(make_pair(network(5), network(7), IMAGES, samples=samples))
    return method


def said(width: int, seed: int) -> Signals:
    numbers = torch.Generator().manual_seed(seed)
    return Signals(torch.zeros(4, 3), embedding=torch.randn((4, width), generator=numbers))


def loss_of(method: CRD, batch: Batch = BATCH, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return method(said(5, 0), said(7, 1), batch, START)


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Probabilities of being the sample's own memory, in plain Python."""
    similarities, z, samples = [[2.0, -1.0, 0.5, 0.0], [-3.0, 1.0, 1.0, 2.0]], 30.0, 50

    def true(similarity: float) -> float:
        probability = math.exp(similarity) / z
        return probability / (probability + 3 / samples)

    expected = [
        -math.log(true(own)) - sum(math.log(1 - true(other)) for other in others)
        for own, *others in similarities
    ]
    loss = crd_loss(torch.tensor(similarities), torch.tensor(z).log(), samples)
    assert loss.tolist() == pytest.approx(expected, rel=1e-6)


def test_the_loss_has_its_minimum_where_only_the_own_memory_is_alike() -> None:
    perfect = torch.tensor([[1e4, -1e4, -1e4]])
    assert crd_loss(perfect, torch.tensor(0.0), 50).item() == 0.0
    assert crd_loss(-perfect, torch.tensor(0.0), 50).isfinite().all()


def test_the_normaliser_is_the_sum_over_all_memories_estimated_from_the_drawn_ones() -> None:
    torch.manual_seed(0)
    similarities = torch.randn(2, 3, 4)
    expected = [50 * part.exp().mean().item() for part in similarities]
    estimate = estimated_log_normaliser(similarities, 50)
    assert estimate.exp().tolist() == pytest.approx(expected, rel=1e-5)


def test_negatives_are_of_other_classes_and_all_of_those_come() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, -1, 3, 3])
    torch.manual_seed(0)
    drawn = draw_negatives(torch.tensor([0, 3, 1] * 100), labels, 6)
    assert drawn.shape == (300, 6)
    seen = [{int(place) for row in drawn[start::3] for place in row} for start in range(3)]
    assert seen == [{1, 2, 4, 5, 7, 8, 9}, set(range(8)), set(range(10)) - {1, 4}]


def test_negatives_are_drawn_evenly() -> None:
    labels = torch.tensor([1, 0, 2, 1, -1, -1])
    torch.manual_seed(0)
    counts = Counter(draw_negatives(torch.full((3000,), 1), labels, 4).flatten().tolist())
    assert set(counts) == {1, 2, 4, 5}
    assert all(count == pytest.approx(3000, rel=0.1) for count in counts.values())


@pytest.mark.parametrize(("at_most", "count"), [(3, 3), (4, 4), (5, 4), (16384, 4)])
def test_no_more_negatives_are_drawn_than_some_class_has_others(at_most: int, count: int) -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, -1])
    assert draw_negatives(torch.tensor([0, 2]), labels, at_most).shape == (2, count)


def test_memories_begin_evenly_spread_with_length_about_one() -> None:
    torch.manual_seed(0)
    bank = new_bank(1000, 48)
    assert bank.abs().max() <= 0.25
    assert bank.abs().max() > 0.24
    assert bank.square().sum(1).mean().item() == pytest.approx(1.0, rel=0.02)


def test_each_network_is_compared_with_the_others_memory_of_the_sample() -> None:
    method = built(temperature=0.5)
    method.eval()
    ours, theirs = said(5, 0).embedding, said(7, 1).embedding
    ours = nn.functional.normalize(method.student_head(ours))
    theirs = nn.functional.normalize(method.teacher_head(theirs))
    labels = torch.full((SAMPLES,), -1).scatter(0, IDS, BATCH.labels)
    torch.manual_seed(1)
    drawn = draw_negatives(BATCH.labels, labels, 5)
    expected = torch.zeros(())
    for points, bank in ((ours, method.teacher_bank), (theirs, method.student_bank)):
        rows = [
            [points[n] @ bank[place] / 0.5 for place in (IDS[n], *drawn[n])]
            for n in range(len(IDS))
        ]
        similarities = torch.stack([torch.stack(row) for row in rows])
        z = SAMPLES * similarities.exp().mean()
        expected = expected + crd_loss(similarities, z.log(), SAMPLES).mean()
    torch.testing.assert_close(loss_of(method), expected)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_memories_of_the_batch_move_and_no_others(momentum: float) -> None:
    method = built(momentum=momentum)
    before = method.student_bank.clone(), method.teacher_bank.clone()
    loss_of(method)
    heads = method.student_head(said(5, 0).embedding), method.teacher_head(said(7, 1).embedding)
    banks = method.student_bank, method.teacher_bank
    for bank, old, head in zip(banks, before, heads, strict=True):
        points = nn.functional.normalize(head)
        moved = nn.functional.normalize(momentum * old[IDS] + (1 - momentum) * points)
        torch.testing.assert_close(bank[IDS], moved)
        others = [place for place in range(SAMPLES) if place not in IDS]
        assert torch.equal(bank[others], old[others])
        assert not bank.requires_grad


def test_labels_are_learnt_as_they_come_by() -> None:
    method = built()
    assert set(method.labels.tolist()) == {-1}
    loss_of(method)
    assert method.labels[IDS].tolist() == BATCH.labels.tolist()
    assert (method.labels >= 0).sum() == len(IDS)


def test_the_first_batch_sets_the_normalisers_for_good() -> None:
    method = built()
    assert method.log_normalisers.isinf().all()
    loss_of(method)
    first = method.log_normalisers.clone()
    assert first.isfinite().all()
    loss_of(method, seed=2)
    assert torch.equal(method.log_normalisers, first)


def test_nothing_is_remembered_in_evaluation() -> None:
    method = built()
    method.eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    loss_of(method)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_the_gradient_is_that_of_the_memories_before_they_moved() -> None:
    gradients = []
    for training in (False, True):
        method = built()
        method.train(training)
        loss_of(method).backward()
        gradients.append([parameter.grad for parameter in method.parameters()])
    for still, moving in zip(*gradients, strict=True):
        assert torch.equal(still, moving)


def test_all_that_is_learnt_or_remembered_is_in_the_state() -> None:
    method = built()
    loss_of(method).backward()
    heads = {
        f"{side}_head.{what}" for side in ("student", "teacher") for what in ("weight", "bias")
    }
    buffers = {"student_bank", "teacher_bank", "labels", "log_normalisers"}
    assert set(method.state_dict()) == heads | buffers
    assert dict(method.named_parameters()).keys() == heads
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.parameters())


def test_a_restored_method_goes_on_as_if_nothing_had_happened() -> None:
    method, restored = built(), built()
    loss_of(method)
    torch.manual_seed(9)
    restored.build(make_pair(network(5), network(7), IMAGES, samples=SAMPLES))
    assert not torch.equal(restored.student_bank, method.student_bank)
    restored.load_state_dict(method.state_dict())
    for seed in (2, 3):
        assert torch.equal(loss_of(method, seed=seed), loss_of(restored, seed=seed))


def test_the_draws_are_from_the_global_generator() -> None:
    method = built()
    method.eval()
    assert torch.equal(loss_of(method, seed=4), loss_of(method, seed=4))
    assert not torch.equal(loss_of(method, seed=4), loss_of(method, seed=5))


def test_training_brings_the_student_nearer_to_the_teacher() -> None:
    """A student that may say anything learns to say, to its head, what the teacher says."""
    method = built(negatives=16)
    student = said(5, 0).embedding.requires_grad_()
    optimiser = torch.optim.SGD([student, *method.parameters()], lr=0.05)
    losses = []
    for _ in range(60):
        loss = method(Signals(student, embedding=student), said(7, 1), BATCH, START)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_embeddings_that_are_equal_or_huge_or_alone_give_finite_gradients() -> None:
    for embedding in (torch.ones(4, 5), torch.zeros(4, 5), 1e4 * torch.eye(4, 5)):
        embedding.requires_grad_()
        loss = built()(Signals(embedding, embedding=embedding), said(7, 1), BATCH, START)
        loss.backward()
        assert loss.isfinite()
        assert embedding.grad.isfinite().all()
    alone = Batch(torch.zeros(1, 1, 4, 4), torch.tensor([0]), torch.tensor([2]))
    signals = [given.map(lambda x: x[:1]) for given in (said(5, 0), said(7, 1))]
    assert built()(*signals, alone, START).isfinite()


def test_a_training_set_of_one_class_has_no_negatives() -> None:
    method = built(samples=4)
    only = Batch(torch.zeros(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    loss = loss_of(method, only)
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


@pytest.mark.parametrize("ids", [[0, 1, 2, SAMPLES], [0, -1, 2, 3]])
def test_ids_that_are_no_numbers_of_samples_are_quoted(ids: list[int]) -> None:
    batch = BATCH._replace(ids=torch.tensor(ids))
    message = rf"the 20 training samples from 0, .* from {min(ids)} to {max(ids)}"
    with pytest.raises(DataLayoutError, match=message):
        loss_of(built(), batch)


def test_the_last_sample_is_a_sample() -> None:
    assert loss_of(built(), BATCH._replace(ids=torch.tensor([0, 1, 2, SAMPLES - 1]))).isfinite()


def test_it_needs_ids_a_true_class_and_the_joint_batch() -> None:
    assert set(CRD.needs) == {"ids", "class labels", "embedding"}
    assert CRD.relates_samples


def test_a_training_set_of_unknown_size_is_refused() -> None:
    with pytest.raises(ModelMismatchError, match=r"CRD keeps a memory of every sample"):
        CRD().build(make_pair(network(5), network(7), IMAGES))


def test_networks_without_embeddings_are_refused() -> None:
    with pytest.raises(ModelMismatchError, match=r"CRD compares embeddings, but .*'kd'"):
        CRD().build(make_pair(Brightness(), network(5), IMAGES, samples=SAMPLES))


@pytest.mark.parametrize("name", ["dims", "negatives"])
def test_a_setting_below_one_is_quoted_and_one_is_not(name: str) -> None:
    CRD(**{name: 1})
    with pytest.raises(ValueError, match=rf"must be at least 1, but got .*{name}=0"):
        CRD(**{name: 0})


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_an_impossible_temperature_is_quoted(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"must be positive, but got temperature={temperature}"):
        CRD(temperature=temperature)


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_an_impossible_momentum_is_quoted(momentum: float) -> None:
    with pytest.raises(ValueError, match=rf"in 0..1, below 1, but got momentum={momentum}"):
        CRD(momentum=momentum)


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(CRD)}
    assert settings == {"dims": 128, "negatives": 16384, "temperature": 0.07, "momentum": 0.5}
    assert CRD.default_weight == 0.8
