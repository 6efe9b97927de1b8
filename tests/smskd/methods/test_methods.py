"""What holds for every method; a new one is tested here as soon as its file is there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd.methods import METHODS, Method, Progress, settings_of
from smskd.objective import make_method
from smskd.signals import PairShapes, Signals
from smskd.stage import MethodSpec

N, CLASSES = 3, 4
LABELS = torch.tensor([0, 1, 2])
START = Progress(0.0, 10)

# The loss of a student that says what its teacher says, where it is not zero.
MINIMUM: dict[str, float] = {}
# Methods that compare through something learned are at their minimum only once it is learned;
# their own files test the pure loss.
LEARNED = {"fitnet"}

every_method = pytest.mark.parametrize("name", METHODS.names())


def signals(
    *shapes: tuple[int, int, int], seed: int, dtype: torch.dtype = torch.float64
) -> Signals:
    """Random logits, and features of the shapes (C, H, W)."""
    numbers = torch.Generator().manual_seed(seed)
    logits = torch.randn((N, CLASSES), generator=numbers, dtype=torch.float64)
    features = [torch.randn((N, *s), generator=numbers, dtype=torch.float64) for s in shapes]
    return Signals(logits.to(dtype), tuple(feature.to(dtype) for feature in features))


def built(name: str, student: Signals, teacher: Signals) -> Method:
    torch.manual_seed(0)
    method = make_method(MethodSpec(name))
    shapes = [tuple(t.shape[1:]) for said in (student, teacher) for t in said.features]
    half = len(shapes) // 2
    method.build(PairShapes((CLASSES,), (CLASSES,), tuple(shapes[:half]), tuple(shapes[half:])))
    return method.to(student.logits.dtype)


def learning(said: Signals) -> tuple[Signals, tuple[Tensor, ...]]:
    """The same signals as leaves that gather gradients."""
    leaves = tuple(t.clone().requires_grad_() for t in (said.logits, *said.features))
    return Signals(leaves[0], leaves[1:]), leaves


@pytest.mark.parametrize("name", [name for name in METHODS.names() if name not in LEARNED])
def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn(name: str) -> None:
    said = signals((2, 4, 4), (3, 2, 2), seed=0)
    student, leaves = learning(said)
    loss = built(name, said, said)(student, said, LABELS, START)
    assert loss.item() == pytest.approx(MINIMUM.get(name, 0.0), abs=1e-12)
    for gradient in torch.autograd.grad(loss, leaves, allow_unused=True):
        assert gradient is None or gradient.abs().max() < 1e-9


@every_method
def test_another_student_has_something_to_learn_and_the_teacher_has_not(name: str) -> None:
    student, leaves = learning(signals((2, 4, 4), (3, 2, 2), seed=0))
    teacher = signals((2, 4, 4), (3, 2, 2), seed=1)
    loss = built(name, student, teacher)(student, teacher, LABELS, START)
    assert loss.shape == ()
    assert loss.item() > MINIMUM.get(name, 0.0) + 1e-3
    loss.backward()
    assert any(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves)
    assert not any(t.requires_grad for t in (teacher.logits, *teacher.features))


@every_method
def test_the_gradient_is_the_losss_slope(name: str) -> None:
    student = signals((2, 2, 2), (2, 2, 1), seed=0)
    teacher = signals((3, 2, 2), (3, 2, 1), seed=1)
    method = built(name, student, teacher)
    parameters = tuple(method.parameters())

    def loss(logits: Tensor, *others: Tensor) -> Tensor:
        features = others[: len(student.features)]
        return method(Signals(logits, features), teacher, LABELS, START)

    _, leaves = learning(student)
    assert torch.autograd.gradcheck(loss, (*leaves, *parameters))


@every_method
def test_channels_and_sizes_of_student_and_teacher_may_differ(name: str) -> None:
    student, leaves = learning(signals((2, 7, 5), (3, 4, 2), seed=0))
    teacher = signals((5, 3, 6), (4, 2, 2), seed=1)
    loss = built(name, student, teacher)(student, teacher, LABELS, START)
    loss.backward()
    assert loss.isfinite()
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)


@every_method
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_half_precision_signal_gives_a_loss_in_full_precision(
    name: str, half: torch.dtype
) -> None:
    student = signals((2, 4, 4), (3, 2, 2), seed=0, dtype=half)
    teacher = signals((2, 4, 4), (3, 2, 2), seed=1, dtype=half)
    # A learned part is run by autocast as the student is, so it gives a half type as well.
    method = built(name, student, teacher)
    loss = method(student, teacher, LABELS, START)
    assert loss.dtype == torch.float32
    raised = [
        Signals(said.logits.double(), tuple(f.double() for f in said.features))
        for said in (student, teacher)
    ]
    tolerance = 2e-2 if name in LEARNED else 1e-5
    expected = method.double()(*raised, LABELS, START).item()
    assert loss.item() == pytest.approx(expected, rel=tolerance)


@every_method
def test_samples_that_look_alike_and_features_at_rest_do_not_throw_the_gradient_off(
    name: str,
) -> None:
    """Early in training a small student's last features may all be zero for several samples."""
    teacher = signals((2, 4, 4), (3, 2, 2), seed=1)
    still = signals((2, 4, 4), (3, 2, 2), seed=0)
    for said in (still.logits, *still.features):
        said[:2] = 0
    student, leaves = learning(still)
    built(name, student, teacher)(student, teacher, LABELS, START).backward()
    for leaf in leaves:
        assert leaf.grad is None or leaf.grad.abs().max() < 1e4


@every_method
def test_a_method_tells_what_it_is(name: str) -> None:
    method = METHODS.get(name)
    assert method.family in {"response", "feature", "relation"}
    assert method.paper
    assert method.formula
    assert "\n" not in method.formula
    assert method.default_weight > 0
    assert method.__doc__


@every_method
def test_every_setting_has_a_type_and_a_default(name: str) -> None:
    for setting in settings_of(METHODS.get(name)):
        assert isinstance(setting.default, setting.type), setting


@every_method
def test_a_method_that_needs_features_says_so_when_there_are_none(name: str) -> None:
    method = make_method(MethodSpec(name))
    shapes = PairShapes((CLASSES,), (CLASSES,), (), ())
    if not method.needs_features:
        method.build(shapes)
        return
    with pytest.raises(ModelMismatchError, match=r"no taps in common.*'kd'"):
        method.build(shapes)


def test_the_first_methods_are_there() -> None:
    assert {"at", "fitnet", "kd", "rkd"} <= set(METHODS.names())


def test_an_unknown_method_brings_up_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown method 'fitnets', did you mean 'fitnet'"):
        make_method(MethodSpec("fitnets"))


def test_an_unknown_setting_brings_up_the_nearest_name() -> None:
    spec = MethodSpec("kd", settings={"temprature": 2.0})
    with pytest.raises(UnknownNameError, match=r"'kd' 'temprature', did you mean 'temperature'"):
        make_method(spec)
