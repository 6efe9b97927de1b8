"""Networks as users' factories give them: brought into form, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from pipeline.training.network_checks import bare_network, check_answers, check_learns


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    def features(self, images: Tensor) -> Tensor:
        return F.relu(self.stem(images)).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Forgetful(Net):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.dropout(self.features(images)))


class Noisy(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 0.01 * torch.randn(5)


class Squeezes(Net):
    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).squeeze())


class OverTheBatch(Net):
    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return self.head(features - features.mean(0))


class Overflows(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 1e39


class Tuple(Net):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        return self.head(features), features


class Mapped(Net):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": super().forward(images)}


def spoilt(change: Callable[[Net], object]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        network = Net()
        change(network)
        return network

    return make


@pytest.mark.parametrize(
    ("wrap", "word"),
    [
        (torch.compile, "OptimizedModule"),
        (nn.DataParallel, "DataParallel"),
        (lambda net: torch.compile(nn.DataParallel(net)), "DataParallel"),
        (lambda net: net.half(), "float16"),
        (lambda net: net.bfloat16(), "bfloat16"),
        (lambda net: net.double(), "float64"),
    ],
)
def test_wrappers_and_other_floats_are_taken_off_and_told(
    wrap: Callable[[nn.Module], nn.Module], word: str
) -> None:
    lines: list[str] = []
    network = bare_network(wrap(Net()), "mine:net", lines.append)
    assert type(network) is Net
    assert network.head.weight.dtype == torch.float32
    assert word in " ".join(lines)


def test_a_plain_network_stays_as_it_is() -> None:
    network = Net()
    assert bare_network(network, "mine:net", pytest.fail) is network


def _zero(network: Net) -> None:
    network.head.weight = nn.Parameter(torch.zeros(5, 4, dtype=torch.int8), requires_grad=False)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.jit.script(Net()), "TorchScript"),
        (lambda: Net().to("meta"), "stem.weight .* meta device"),
        (spoilt(lambda net: net.head.weight.data.fill_(torch.nan)), "head.weight .* NaN"),
        (spoilt(lambda net: net.head.bias.data.fill_(torch.inf)), "head.bias .* infinite"),
        (
            spoilt(lambda net: net.register_parameter("i", nn.Parameter(torch.ones(1) * 1j))),
            "i of the network .* complex",
        ),
        (
            spoilt(lambda net: net.register_buffer("s", torch.eye(2).to_sparse())),
            "s of the network .* sparse",
        ),
        (spoilt(_zero), "head.weight .* int8"),
        (nn.Flatten, "no weights"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_trained_or_exported_is_refused(
    make: Callable[[], nn.Module], words: str
) -> None:
    with pytest.raises(ModelMismatchError, match=f"model 'mine:net': .*{words}"):
        bare_network(make(), "mine:net", pytest.fail)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Forgetful, "does not answer the same twice .* F.dropout without training=self.training"),
        (Noisy, "does not answer the same twice"),
        (Squeezes, r"takes two images but not one alone.*flatten\(1\)"),
        (OverTheBatch, "answers otherwise for an image alone than in a batch"),
        (Overflows, "NaN or infinite"),
        (Tuple, "gave tuple of 2; have its forward return the logits alone"),
        (Mapped, "gave dict with logits; have its forward return the logits alone"),
    ],
)
def test_a_network_that_is_no_function_of_its_image_is_told_of(kind: type[Net], words: str) -> None:
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ModelMismatchError, match=words):
        check_answers(kind().train(), "mine:net", images)
    check_answers(Net(), "mine:net", images)


def test_a_frozen_network_cannot_learn() -> None:
    images = torch.rand(2, 3, 8, 8)
    check_learns(Net(), "mine:net", images)
    with pytest.raises(ModelMismatchError, match="all of its weights are frozen"):
        check_learns(Net().requires_grad_(False), "mine:net", images)


def test_looking_at_a_network_draws_no_random_numbers() -> None:
    network, images = Forgetful(), torch.rand(2, 3, 8, 8)
    before = torch.get_rng_state()
    with pytest.raises(ModelMismatchError):
        check_answers(network, "mine:net", images)
    assert torch.equal(torch.get_rng_state(), before)
