"""Two networks that run side by side and exchange features."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from smskd.features.lockstep import run_in_lockstep
from smskd.features.maps import as_map
from smskd.features.taps import TappedModel, find_classifier

Net = Callable[..., nn.Module]

IMAGES = torch.randn(5, 1, 8, 8)
BOTH = (IMAGES, IMAGES)


def tapped(model: nn.Module) -> TappedModel:
    taps = ["stem", "body"] if hasattr(model, "stem") else ["encoder.layers.0", "encoder.layers.1"]
    return TappedModel(model, taps, find_classifier(model, IMAGES))


def keep(place: int, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return first, second


def swap(place: int, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    return second, first


def alone(model: nn.Module, images: Tensor = IMAGES) -> Tensor:
    training = model.training
    with torch.no_grad():
        logits = model.eval()(images)
    model.train(training)
    return logits


@pytest.fixture
def nets(net: Net, vit: Net) -> dict[str, nn.Module]:
    """With batch-norm statistics of their own, and in training mode."""
    made = {"small": net(), "wide": net(width=6, seed=1), "twin": net(seed=2), "vit": vit()}
    for model in made.values():
        model(IMAGES)
    return made


@pytest.mark.parametrize("names", [("small", "wide"), ("vit", "small"), ("wide", "vit")])
def test_networks_that_keep_to_themselves_say_what_they_say_alone(
    nets: dict[str, nn.Module], names: tuple[str, str]
) -> None:
    """In evaluation mode: neither dropout nor the batch's statistics."""
    first, second = (nets[name] for name in names)
    logits = run_in_lockstep(tapped(first), tapped(second), BOTH, keep)
    assert torch.allclose(logits[0], alone(first), atol=1e-6)
    assert torch.allclose(logits[1], alone(second), atol=1e-6)
    assert first.training
    assert second.training


def test_each_network_sees_images_of_its_own(nets: dict[str, nn.Module]) -> None:
    first, second = nets["small"], nets["wide"]
    images = (IMAGES, torch.randn(5, 1, 16, 16))
    logits = run_in_lockstep(tapped(first), tapped(second), images, keep)
    assert torch.equal(logits[0], alone(first))
    assert torch.equal(logits[1], alone(second, images[1]))


def test_what_is_exchanged_is_what_each_goes_on_with(nets: dict[str, nn.Module]) -> None:
    """After a swap at the last tap, each ends in its own classifier behind the other's features."""
    first, second = nets["small"].eval(), nets["twin"].eval()
    places = []

    def exchange(place: int, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        places.append((place, tuple(ours.shape), tuple(theirs.shape)))
        return (theirs, ours) if place == 1 else (ours, theirs)

    logits = run_in_lockstep(tapped(first), tapped(second), BOTH, exchange)
    bodies = [one.body(one.stem(IMAGES).relu()).relu().mean((2, 3)) for one in (first, second)]
    assert torch.allclose(logits[0], first.head(bodies[1]), atol=1e-6)
    assert torch.allclose(logits[1], second.head(bodies[0]), atol=1e-6)
    assert places == [(0, (5, 4, 8, 8), (5, 4, 8, 8)), (1, (5, 8, 4, 4), (5, 8, 4, 4))]


def test_equal_networks_can_swap_all_they_have(nets: dict[str, nn.Module], net: Net) -> None:
    first, second = nets["small"], net()
    second.load_state_dict(first.state_dict())
    logits = run_in_lockstep(tapped(first), tapped(second), BOTH, swap)
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], alone(first))


def test_what_goes_into_a_submodule_can_be_exchanged_too(nets: dict[str, nn.Module]) -> None:
    """With the other's input of the body a network goes on as the other does."""
    first, second = (TappedModel(nets[name], ["body:input"]) for name in ("small", "twin"))

    def doubled(place: int, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        return theirs, 2 * ours

    seen: dict[str, Tensor] = {}
    for name in ("small", "twin"):
        nets[name].body.register_forward_hook(
            lambda _module, args, _output, name=name: seen.update({name: args[0]})
        )
    with torch.no_grad():
        alone(nets["small"])
        ours = seen["small"]
        alone(nets["twin"])
        theirs = seen["twin"]
        run_in_lockstep(first, second, BOTH, doubled)
    assert torch.allclose(seen["small"], theirs, atol=1e-6)
    assert torch.allclose(seen["twin"], 2 * ours, atol=1e-6)


def test_the_tokens_of_transformers_are_exchanged_as_maps(vit: Net) -> None:
    """What stands for no position, such as the class token, each keeps for itself."""
    first, second = vit(seed=1).eval(), vit(seed=2).eval()
    taps = [TappedModel(one, ["encoder.layers.1"], "head") for one in (first, second)]
    logits = run_in_lockstep(taps[0], taps[1], BOTH, swap)

    def expected(ours: nn.Module, theirs: nn.Module) -> Tensor:
        halves = []
        for one in (ours, theirs):
            patches = one.patches(IMAGES).flatten(2).transpose(1, 2)
            tokens = torch.cat([one.token.expand(5, -1, -1), patches], 1) + one.positions
            halves.append(one.encoder.layers[1](one.encoder.layers[0](tokens)))
        mixed = torch.cat([halves[0][:, :1], halves[1][:, 1:]], 1)
        return ours.head(ours.norm(ours.encoder.layers[2](mixed))[:, 0])

    assert torch.allclose(logits[0], expected(first, second), atol=1e-5)
    assert torch.allclose(logits[1], expected(second, first), atol=1e-5)


@pytest.mark.parametrize("names", [("small", "wide"), ("small", "vit")])
def test_gradients_reach_the_exchange_and_nothing_of_the_networks(
    nets: dict[str, nn.Module], names: tuple[str, str]
) -> None:
    first, second = (nets[name] for name in names)
    pair = tapped(first), tapped(second)
    features = [as_map(one) for model in pair for one in model(IMAGES[:1]).features]
    widths = [one.shape[1] for one in features]
    adapters = nn.ModuleList(
        nn.ModuleList([nn.Conv2d(widths[2 + place], widths[place], 1),
                       nn.Conv2d(widths[place], widths[2 + place], 1)])
        for place in range(2)
    )  # fmt: skip
    before = {n: t.clone() for one in (first, second) for n, t in one.state_dict().items()}

    def exchange(place: int, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        to_ours, to_theirs = adapters[place][0](theirs), adapters[place][1](ours)
        sizes = ours.shape[2:], theirs.shape[2:]
        fit = nn.functional.interpolate
        return ours + fit(to_ours, sizes[0]), theirs + fit(to_theirs, sizes[1])

    logits = run_in_lockstep(*pair, BOTH, exchange)
    (logits[0].square().sum() + logits[1].square().sum()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in adapters.parameters())
    for model in (first, second):
        assert all(parameter.grad is None for parameter in model.parameters())
        assert all(parameter.requires_grad for parameter in model.parameters())
    after = {n: t for one in (first, second) for n, t in one.state_dict().items()}
    assert all(torch.equal(after[name], before[name]) for name in before)


class Fails(nn.Module):
    """A network that fails in its forward pass, before or after its tap."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.stem, self.body = where, nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, images: Tensor) -> Tensor:
        for place, step in (("start", self.stem), ("middle", self.body)):
            if place == self.where:
                raise ZeroDivisionError(f"at the {place}")
            images = step(images)
        raise ZeroDivisionError("at the end")


@pytest.mark.parametrize("where", ["start", "middle", "end"])
@pytest.mark.parametrize("who", [0, 1])
def test_the_error_of_one_network_comes_out_as_it_is(net: Net, where: str, who: int) -> None:
    pair = [tapped(net()), tapped(net())]
    pair[who] = TappedModel(Fails(where), ["stem", "body"])
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError, match=f"at the {where}"):
        run_in_lockstep(pair[0], pair[1], BOTH, keep)
    assert threading.active_count() == threads
    for one in pair:
        assert not any(module._forward_hooks for module in one.model.modules())


def test_the_error_of_the_exchange_comes_out_as_it_is(net: Net) -> None:
    def exchange(place: int, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        raise ZeroDivisionError(f"at place {place}")

    with pytest.raises(ZeroDivisionError, match="at place 0"):
        run_in_lockstep(tapped(net()), tapped(net()), BOTH, exchange)


class Sharing(nn.Module):
    """One activation that runs after each of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)
        self.relu, self.head = nn.ReLU(), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.body(self.relu(self.stem(images))))
        return self.head(features.mean((2, 3)))


@pytest.mark.parametrize(
    ("taps", "named"),
    [(["stem", "relu"], "relu"), (["relu", "body"], "relu"), (["body", "stem"], "stem")],
    ids=["twice", "twice, first", "in another order"],
)
@pytest.mark.parametrize("who", [0, 1])
def test_taps_that_run_twice_or_in_another_order_are_refused_and_nobody_waits(
    net: Net, taps: list[str], named: str, who: int
) -> None:
    pair = [tapped(net()), tapped(net())]
    pair[who] = TappedModel(Sharing(), taps)
    with pytest.raises(ModelMismatchError, match=f"'{named}' does not; name other taps") as caught:
        run_in_lockstep(pair[0], pair[1], BOTH, keep)
    assert "\n" not in str(caught.value)


class Skips(nn.Module):
    """Runs one of its two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stem(images).mean((2, 3)))


@pytest.mark.parametrize("who", [0, 1])
def test_a_tap_that_is_not_run_is_refused_and_nobody_waits(net: Net, who: int) -> None:
    pair = [tapped(net()), tapped(net())]
    pair[who] = TappedModel(Skips(), ["stem", "body"])
    with pytest.raises(ModelMismatchError, match="'body' does not"):
        run_in_lockstep(pair[0], pair[1], BOTH, keep)


def test_autocast_and_grad_mode_hold_in_both_threads(nets: dict[str, nn.Module]) -> None:
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    def exchange(place: int, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((ours.dtype, theirs.dtype))
        return ours, theirs

    pair = tapped(nets["small"]), tapped(nets["wide"])
    images = tuple(one.clone().requires_grad_() for one in BOTH)
    with torch.autocast("cpu", torch.bfloat16):
        logits = run_in_lockstep(*pair, images, exchange)
    assert [one.dtype for one in logits] == [torch.bfloat16] * 2
    assert all(one.requires_grad for one in logits)
    with torch.no_grad():
        logits = run_in_lockstep(*pair, images, exchange)
    assert [one.dtype for one in logits] == [torch.float32] * 2
    assert not any(one.requires_grad for one in logits)
    assert seen == [(torch.bfloat16,) * 2] * 2 + [(torch.float32,) * 2] * 2
