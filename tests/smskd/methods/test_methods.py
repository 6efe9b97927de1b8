"""What holds for every method; a new one is tested here as soon as its file is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Need, Progress, settings_of
from smskd.methods._features import FeatureMethod
from smskd.objective import Objective, make_method
from smskd.pair import Pair, make_pair
from smskd.stage import MethodSpec, Stage

MIDDLE = Progress(1.0, 2)

every_method = pytest.mark.parametrize("name", METHODS.names())
every_pair = pytest.mark.parametrize("kinds", ["cnn-cnn", "cnn-vit", "vit-cnn"])


@dataclass
class Scene:
    """A method between two networks that look at a batch.

    Attributes:
        method: built for the pair.
        pair: the networks.
        batch: what they look at.
    """

    method: Method
    pair: Pair
    batch: Batch

    def loss(self) -> Tensor:
        student = self.pair.student(self.batch.images)
        with torch.no_grad():
            teacher = self.pair.teacher(self.batch.images)
        return self.method(student, teacher, self.batch, MIDDLE)

    def step(self) -> Tensor:
        """One step of training of student and method; gives the loss before it."""
        parameters = [*self.pair.student.model.parameters(), *self.method.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.01)
        loss = self.loss()
        loss.backward()
        optimizer.step()
        return loss


def built(name: str, pair: Pair, seed: int = 1) -> Method:
    torch.manual_seed(seed)
    method = METHODS.get(name)()
    method.build(pair)
    return method


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, pair_of: Callable[[str, str], Pair], batch: Batch
) -> Callable[..., Scene]:
    def make(name: str, kinds: str = "cnn-cnn") -> Scene:
        pair = pair_of(*kinds.split("-"))
        return Scene(built(name, pair), pair, batch)

    return make


@every_method
@every_pair
def test_a_step_trains_the_student_and_every_learnable_part_and_leaves_the_teacher_alone(
    scene: Callable[..., Scene], name: str, kinds: str
) -> None:
    here = scene(name, kinds)
    student, teacher = here.pair.student.model, here.pair.teacher.model
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    loss = here.step()
    assert loss.shape == ()
    assert loss.isfinite()
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    for part, parameter in here.method.named_parameters():
        assert parameter.grad is not None, part
        # What SAKD routes past a place, or into a token that no class is read from, has none.
        assert name == "sakd" or parameter.grad.abs().sum() > 0, part
    assert all(parameter.grad is None for parameter in teacher.parameters())
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key]), key


@every_method
def test_the_student_is_not_among_the_methods_own_parts(
    scene: Callable[..., Scene], name: str
) -> None:
    here = scene(name)
    networks = (here.pair.student.model, here.pair.teacher.model)
    theirs = {id(p) for network in networks for p in network.parameters()}
    assert not theirs & {id(parameter) for parameter in here.method.parameters()}
    assert set(dict(here.method.named_parameters())) <= set(here.method.state_dict())


@every_method
def test_a_method_goes_on_from_its_saved_state_as_if_nothing_had_happened(
    scene: Callable[..., Scene], name: str
) -> None:
    here = scene(name)
    here.step()
    saved = {key: value.clone() for key, value in here.method.state_dict().items()}
    again = built(name, here.pair, seed=2)
    again.load_state_dict(saved)
    student = here.pair.student.model
    stands = {key: value.clone() for key, value in student.state_dict().items()}
    losses = []
    for method in (here.method, again):
        student.load_state_dict(stands)
        torch.manual_seed(3)
        losses.append(Scene(method, here.pair, here.batch).loss().item())
    assert losses[0] == losses[1]


@every_method
def test_the_end_of_an_epoch_leaves_networks_that_can_be_trained_on(
    scene: Callable[..., Scene], name: str
) -> None:
    here = scene(name)
    here.step()
    here.method.after_epoch()
    assert here.step().isfinite()


@every_method
@every_pair
def test_autocast_gives_a_finite_loss_in_full_precision(
    scene: Callable[..., Scene], name: str, kinds: str
) -> None:
    here = scene(name, kinds)
    with torch.autocast("cpu", torch.bfloat16):
        loss = here.loss()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert all(
        p.grad.isfinite().all() for p in here.pair.student.model.parameters() if p.grad is not None
    )


@every_method
def test_mixed_images_do_or_the_method_says_that_they_do_not(
    scene: Callable[..., Scene], name: str, mixed_batch: Batch
) -> None:
    here = scene(name)
    if "class labels" not in here.method.needs:
        assert Scene(here.method, here.pair, mixed_batch).step().isfinite()
        return
    objective = Objective(Stage(name), here.pair)
    student = here.pair.student(mixed_batch.images)
    with pytest.raises(ModelMismatchError, match=f"'{name}' needs one true class for each image"):
        objective(student, mixed_batch, student, None, MIDDLE)


@every_method
def test_a_student_at_rest_does_not_throw_the_loss_off(
    scene: Callable[..., Scene], name: str
) -> None:
    """Early in training a small student's features may all be zero."""
    here = scene(name)
    with torch.no_grad():
        teacher = here.pair.teacher(here.batch.images)
    rest = here.pair.student(here.batch.images).map(
        lambda tensor: torch.zeros_like(tensor).requires_grad_()
    )
    loss = here.method(rest, teacher, here.batch, MIDDLE)
    assert loss.isfinite()
    loss.backward()
    for leaf in (rest.logits, *rest.features, rest.embedding):
        assert leaf.grad is None or leaf.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in here.method.parameters())


# The methods that compare features of any kind; SAKD runs the networks, and is tested above.
FEATURES = [
    name
    for name, method in METHODS.items()
    if method.family == "feature" and "classifier" not in method.needs and name != "sakd"
]
every_feature_method = pytest.mark.parametrize("name", FEATURES)


def random_features(
    *shapes: tuple[int, int, int], count: int = 4, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    return [torch.randn(count, *shape, dtype=dtype) for shape in shapes]


Said = Callable[..., Signals]
PairWith = Callable[[Sequence[tuple[int, int, int]], Sequence[tuple[int, int, int]]], Pair]
RandomSignals = Callable[..., Signals]
STUDENT_SHAPES, TEACHER_SHAPES = [(2, 3, 3), (3, 2, 2)], [(3, 4, 4), (2, 2, 2)]


@every_feature_method
def test_sizes_may_be_odd_differ_and_change_from_call_to_call(
    name: str, pair_with: PairWith, said: Said, batch: Batch
) -> None:
    method = built(name, pair_with([(3, 13, 13), (4, 7, 7)], [(5, 7, 7), (2, 7, 7)]))
    for ours, theirs in [
        ([(3, 13, 13), (4, 7, 7)], [(5, 7, 7), (2, 7, 7)]),
        ([(3, 7, 7), (4, 1, 1)], [(5, 13, 13), (2, 7, 7)]),
        ([(3, 13, 7), (4, 5, 1)], [(5, 8, 9), (2, 1, 6)]),
        ([(3, 1, 1), (4, 1, 1)], [(5, 1, 1), (2, 1, 1)]),
    ]:
        leaves = [feature.requires_grad_() for feature in random_features(*ours)]
        loss = method(said(*leaves), said(*random_features(*theirs)), batch, MIDDLE)
        loss.backward()
        assert loss.isfinite()
        assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)


@every_feature_method
def test_the_last_batch_may_hold_one_sample_whose_features_are_vectors(
    name: str, pair_with: PairWith, said: Said, batch: Batch
) -> None:
    shapes = [(3, 1, 1), (4, 1, 1)]
    method = built(name, pair_with(shapes, shapes))
    student, teacher = (said(*random_features(*shapes, count=1)) for _ in range(2))
    assert method(student, teacher, batch, MIDDLE).isfinite()


# SAKD runs the networks and chooses by a straight-through estimator, whose gradient is no slope.
@pytest.mark.parametrize("name", [name for name in METHODS.names() if name != "sakd"])
def test_the_gradient_is_the_losss_slope(
    name: str, pair_with: PairWith, random_signals: RandomSignals, batch: Batch
) -> None:
    """By logits, embedding, features and all that a method learns, once a first batch is seen."""
    method = built(name, pair_with(STUDENT_SHAPES, TEACHER_SHAPES)).double()
    student = random_signals(STUDENT_SHAPES, torch.float64)
    teacher = random_signals(TEACHER_SHAPES, torch.float64)
    method(student, teacher, batch, MIDDLE)
    signals = (student.logits, student.embedding, *student.features)

    def loss(*inputs: Tensor) -> Tensor:
        torch.manual_seed(6)
        logits, embedding, *features = inputs[: len(signals)]
        # What the method remembers is the same at each call.
        memory = {key: buffer.clone() for key, buffer in method.named_buffers()}
        seen = Signals(logits, tuple(features), embedding)
        return functional_call(method, memory, (seen, teacher, batch, MIDDLE))

    leaves = [signal.requires_grad_() for signal in signals]
    assert torch.autograd.gradcheck(loss, (*leaves, *method.parameters()), fast_mode=True)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in METHODS.names() if name != "sakd"])
def test_half_precision_signals_give_the_loss_that_the_same_numbers_give_in_full_precision(
    name: str, half: torch.dtype, pair_with: PairWith, random_signals: RandomSignals, batch: Batch
) -> None:
    """Squares and inner products of the student's are more than float16 can hold."""
    method = built(name, pair_with(STUDENT_SHAPES, TEACHER_SHAPES)).eval()
    student = random_signals(STUDENT_SHAPES).map(lambda tensor: (300 * tensor).to(half))
    teacher = random_signals(TEACHER_SHAPES).map(lambda tensor: tensor.to(half))
    losses = []
    for signals in ((student, teacher), (student.map(Tensor.float), teacher.map(Tensor.float))):
        torch.manual_seed(6)
        losses.append(method(*signals, batch, MIDDLE))
    assert losses[0].dtype == torch.float32
    assert losses[0].isfinite()
    assert torch.equal(*losses)


# All but those with a convolution or a projector of their own, which autocast runs as any other.
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in METHODS.names()
        if name not in {"fitnet", "mgd", "ofd", "reviewkd", "sakd", "simkd", "vid"}
    ],
)
def test_autocast_does_not_take_digits_away(
    name: str, pair_with: PairWith, random_signals: RandomSignals, batch: Batch
) -> None:
    method = built(name, pair_with(STUDENT_SHAPES, TEACHER_SHAPES)).eval()
    student, teacher = random_signals(STUDENT_SHAPES), random_signals(TEACHER_SHAPES)
    losses = []
    for enabled in (False, True):
        torch.manual_seed(6)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(method(student, teacher, batch, MIDDLE))
    assert torch.equal(*losses)


@pytest.mark.parametrize(
    "name", [name for name in FEATURES if issubclass(METHODS.get(name), FeatureMethod)]
)
def test_the_loss_is_the_sum_over_taps_of_the_mean_over_samples(
    name: str, pair_with: PairWith, said: Said, batch: Batch
) -> None:
    ours, theirs = [(2, 5, 5), (3, 2, 2)], [(3, 4, 4), (2, 2, 2)]
    method = built(name, pair_with(ours, theirs)).eval()
    student, teacher = said(*random_features(*ours)), said(*random_features(*theirs))
    spots = method.spot_losses(student, teacher, MIDDLE)
    assert spots.shape == (2, 4)
    total = method(student, teacher, batch, MIDDLE)
    assert total.item() == pytest.approx(spots.sum().item() / 4, rel=1e-5)
    assert spots[0, 1].item() == pytest.approx(
        method.tap_loss(0, student.features[0][1:2], teacher.features[0][1:2], MIDDLE).item(),
        rel=1e-5,
    )


@every_method
def test_a_method_tells_what_it_is(name: str) -> None:
    method = METHODS.get(name)
    assert method.family in {"response", "feature", "relation"}
    assert method.paper
    assert method.formula
    assert "\n" not in method.formula
    assert method.default_weight > 0
    assert method.default_ce_weight >= 0
    assert method.__doc__
    assert set(method.needs) <= set(get_args(Need))


@every_method
def test_every_setting_has_a_type_and_a_default(name: str) -> None:
    for setting in settings_of(METHODS.get(name)):
        kind = get_origin(setting.type) or setting.type
        if kind is Literal:
            assert setting.default in get_args(setting.type), setting
        else:
            assert isinstance(setting.default, kind), setting


class Headless(nn.Module):
    """Makes logits without a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.body(images).relu()).mean((2, 3))


def lacking(need: Need, images: Tensor) -> Pair:
    """A pair that has everything but what is needed, as far as one can be without the other."""
    flat = [nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 5)) for _ in range(2)]
    if need == "features":
        return make_pair(*flat, images, taps=((), ()), samples=len(images))
    if need == "ids":
        return make_pair(*flat, images, taps=(("0",), ("0",)))
    taps: Sequence[str] = ("body",) if need == "classifier" else ()
    return make_pair(Headless(), Headless(), images, taps=(taps, taps), samples=len(images))


SAID_OF_NEED: dict[Need, str] = {
    "features": "no taps in common",
    "embedding": "neither a last linear layer nor a tap",
    "classifier": "needs the linear layer that makes the logits",
    "ids": r"batches must be \(images, labels, ids\)",
}


@pytest.mark.parametrize(
    ("name", "need"),
    [
        (name, need)
        for name, method in METHODS.items()
        for need in method.needs
        # A network without an embedding has no taps either, which is said first.
        if need in SAID_OF_NEED and not (need == "embedding" and "features" in method.needs)
    ],
)
def test_a_need_that_is_not_met_is_told_in_one_line(name: str, need: Need, batch: Batch) -> None:
    with pytest.raises(ModelMismatchError, match=SAID_OF_NEED[need]) as raised:
        built(name, lacking(need, batch.images))
    assert str(raised.value).startswith(METHODS.get(name).__name__)
    assert "\n" not in str(raised.value)


@every_method
def test_a_method_takes_networks_that_lack_only_what_it_does_not_need(
    name: str, batch: Batch
) -> None:
    for need in SAID_OF_NEED:
        pair = lacking(need, batch.images)
        needs = METHODS.get(name).needs
        has_no_features = need == "embedding" and "features" in needs
        has_no_classifier = need == "embedding" and "classifier" in needs
        one_tap = name == "kdsvd"
        if need not in needs and not has_no_features and not has_no_classifier and not one_tap:
            built(name, pair)


def test_the_usual_methods_are_there() -> None:
    assert {"kd", "fitnet", "at", "vid", "nst", "ofd", "reviewkd", "kdsvd", "simkd", "mgd"} <= set(
        METHODS.names()
    )


def test_a_users_own_method_is_a_class_with_a_decorator(
    pair_of: Callable[[str, str], Pair], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS.items()))

    @METHODS.register("own-cosine")
    class OwnCosine(Method):
        """Embeddings that point the same way."""

        family = "feature"
        paper = "nowhere"
        formula = "1 − cos(P·s, t)"
        needs = ("embedding",)

        def __init__(self, *, scale: float = 1.0) -> None:
            super().__init__()
            self.scale = scale

        def build(self, pair: Pair) -> None:
            super().build(pair)
            self.projector = nn.Linear(pair.student_shapes.embedding, pair.teacher_shapes.embedding)

        def forward(
            self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
        ) -> Tensor:
            cosine = F.cosine_similarity(self.projector(student.embedding), teacher.embedding)
            return self.scale * (1 - cosine).mean()

    assert "own-cosine" in METHODS.names()
    assert [setting.name for setting in settings_of(METHODS.get("own-cosine"))] == ["scale"]
    pair = pair_of("vit", "cnn")
    here = Scene(built("own-cosine", pair), pair, batch)
    first = here.step()
    assert here.method.projector.weight.grad.abs().sum() > 0
    assert here.loss() < first


def test_an_unknown_method_brings_up_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown method 'fitnets', did you mean 'fitnet'"):
        make_method(MethodSpec("fitnets"))


def test_an_unknown_setting_brings_up_the_nearest_name() -> None:
    spec = MethodSpec("kd", settings={"temprature": 2.0})
    with pytest.raises(UnknownNameError, match=r"'kd' 'temprature', did you mean 'temperature'"):
        make_method(spec)
