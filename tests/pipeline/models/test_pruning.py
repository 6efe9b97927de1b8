"""What pruning takes out of a network, and what it leaves."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from pipeline.models import build_model
from pipeline.models.pruned_form import reform
from pipeline.models.pruning import Order, prune

pytest.importorskip("torch_pruning", reason="torch-pruning is not installed (extra `prune`)")

Make = Callable[[], nn.Module]


def vit() -> nn.Module:
    from torchvision.models import VisionTransformer  # noqa: PLC0415

    return VisionTransformer(32, 8, 2, 4, hidden_dim=64, mlp_dim=128, num_classes=10)


def swin() -> nn.Module:
    from torchvision.models import SwinTransformer  # noqa: PLC0415

    return SwinTransformer([4, 4], 32, [1, 1], [2, 2], [4, 4], num_classes=10)


def timm_vit() -> nn.Module:
    timm = pytest.importorskip("timm", reason="timm is not installed (extra `timm`)")
    tiny = {"img_size": 32, "patch_size": 8, "depth": 2, "num_heads": 3, "embed_dim": 96}
    return timm.create_model("vit_tiny_patch16_224", num_classes=10, **tiny)  # type: ignore[no-any-return]


def built(name: str) -> Make:
    return lambda: build_model(name, 10, 3)


NETWORKS = {
    "residual": (built("resnet8"), 32),
    "wide": (built("wrn-16-1"), 32),
    "depthwise": (built("mobilenetv2"), 32),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3, groups=4), nn.BatchNorm2d(64), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
        ),
        16,
    ),
    "convolutional classifier": (built("torchvision/squeezenet1_1"), 64),
    "torchvision's depthwise": (built("torchvision/mobilenet_v2"), 32),
    "attention": (vit, 32),
    "attention of one linear layer": (timm_vit, 32),
}  # fmt: skip


def images(size: int, count: int = 2) -> Tensor:
    return torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(0))


def seeded(make: Make, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def widths(network: nn.Module, size: int, order: Order) -> list[tuple[int, int]]:
    pruned = prune(network, images(size), order).facts["channels"].values()
    return [(before, after) for before, after in pruned]


def hidden_layer(*, multiple_of_class_count: bool = False) -> nn.Sequential:
    width = 10 if multiple_of_class_count else 16
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(4 * width, 10),
    )  # fmt: skip


@pytest.mark.parametrize(("make", "size"), NETWORKS.values(), ids=NETWORKS)
def test_a_fresh_network_is_brought_into_the_form_and_says_the_same(make: Make, size: int) -> None:
    network, other = seeded(make), seeded(make, seed=1)
    form = prune(network, images(size), Order(0.5))
    reform(network, form, "x")
    reform(other, form, "x")
    said = [one.eval()(images(size)) for one in (network, other)]
    assert said[0].shape == (2, 10)
    assert torch.equal(*said)


@pytest.mark.parametrize(("make", "size"), NETWORKS.values(), ids=NETWORKS)
def test_half_of_the_channels_are_a_quarter_to_half_of_the_work(make: Make, size: int) -> None:
    facts = prune(seeded(make), images(size), Order(0.5)).facts
    for what in ("parameters", "macs"):
        assert 0.15 < facts["after"][what] / facts["before"][what] < 0.6, what


@pytest.mark.parametrize(("make", "size"), NETWORKS.values(), ids=NETWORKS)
def test_a_network_in_a_form_learns_in_every_parameter(make: Make, size: int) -> None:
    network = seeded(make)
    reform(network, prune(network, images(size), Order(0.5)), "x")
    network.train()(images(size)).square().sum().backward()
    assert all(one.grad is not None and one.requires_grad for one in network.parameters())


@pytest.mark.parametrize(
    ("share", "multiple", "expected"),
    [
        (0.3, 1, {(16, 11), (32, 22), (64, 45)}),
        (0.5, 1, {(16, 8), (32, 16), (64, 32)}),
        (0.3, 8, {(16, 8), (32, 24), (64, 48)}),  # the nearest to 11.2, 22.4 and 44.8
        (0.2, 16, {(64, 48)}),  # 12.8 is nearest to 16, 25.6 to 32
        (0.95, 8, {(16, 8), (32, 8), (64, 8)}),  # never nothing
    ],
)
def test_layers_keep_the_multiple_nearest_to_the_share(
    share: float, multiple: int, expected: set[tuple[int, int]]
) -> None:
    network = build_model("resnet8", 10, 3)
    assert set(widths(network, 32, Order(share, multiple=multiple))) == expected


def test_attention_heads_stay_equal() -> None:
    network = vit()
    reform(network, prune(network, images(32), Order(0.3)), "x")
    heads = [one for one in network.modules() if isinstance(one, nn.MultiheadAttention)]
    assert {(one.embed_dim, one.num_heads, one.head_dim) for one in heads} == {(48, 4, 12)}


def test_channels_that_say_nothing_go_first_and_the_logits_stay_as_they_were() -> None:
    network = hidden_layer().eval()
    convolution, norm, linear = network[0], network[1], network[5]
    dead = [1, 2, 5, 8, 11, 12, 13, 15]
    with torch.no_grad():
        for tensor in (convolution.weight, convolution.bias, norm.weight, norm.bias):
            tensor[dead] = 0
        linear.weight.view(10, 16, 4)[:, dead] = 0
    expected = network(images(8))
    reform(network, prune(network, images(8), Order(0.5)), "x")
    assert network[0].out_channels == 8
    assert torch.allclose(network(images(8)), expected, atol=1e-6)


def test_the_batch_norm_scale_decides_if_asked_for() -> None:
    network = hidden_layer()
    with torch.no_grad():
        network[1].weight.copy_(torch.arange(16.0, 0, -1))
    form = prune(network, images(8), Order(0.5, importance="bn-scale"))
    assert torch.equal(form.tensors["1.weight"], torch.arange(16.0, 8, -1))


def test_chance_decides_by_the_seed() -> None:
    network = hidden_layer()
    draws = [
        prune(network, images(8), Order(0.5, importance="random", seed=seed)).tensors["0.weight"]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_layer_as_wide_as_there_are_classes_is_no_classifier() -> None:
    network = hidden_layer(multiple_of_class_count=True)
    assert widths(network, 8, Order(0.5, multiple=1)) == [(10, 5)]


def test_network_and_random_numbers_are_left_as_they_are() -> None:
    network = build_model("resnet8", 10, 3).train()
    network.layer1.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune(network, images(32), Order(0.3, importance="random"))
    assert torch.equal(torch.rand(3), expected)
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert network.conv1.out_channels == 16
    assert network.training
    assert not network.layer1.training


@pytest.mark.parametrize(
    ("make", "order", "words"),
    [
        (built("shufflenetv2"), Order(0.3), "torch-pruning does not follow its layers"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), Order(0.5), "are none"),
        (swin, Order(0.3), "does not follow attention in windows"),
        (built("resnet8"), Order(0.01), "0.01 of its channels, in multiples of 8 kept, are none"),
        (vit, Order(0.3, importance="bn-scale"), "are none"),
    ],
    ids=["shuffled channels", "no hidden layer", "windows", "too small a share", "no batch norm"],
)
def test_what_cannot_be_pruned_is_told_in_one_line(make: Make, order: Order, words: str) -> None:
    with pytest.raises(ModelMismatchError, match="cannot be pruned") as refused:
        prune(make(), images(32), order)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "leave `prune` out" in str(refused.value)


def test_without_torch_pruning_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ModelMismatchError, match="pip install torch-pruning"):
        prune(hidden_layer(), images(8), Order(0.5))


class Named(nn.Module):
    """A convolution, one that has two names and runs three times, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.again = self.block
        self.listed = nn.ModuleList([self.first, self.block])
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        for _ in range(2):
            features = features + self.block(features)
        return self.head((features + self.again(features)).mean((2, 3)))


def test_a_block_with_several_names_stays_one_block() -> None:
    network = seeded(Named).eval()
    form = prune(network, images(16), Order(0.5))
    assert form.facts["channels"] == {"first.0": [16, 8], "block.0": [16, 8]}
    fresh = seeded(Named).eval()
    reform(fresh, form, "form")
    assert fresh.again is fresh.block is fresh.listed[1]
    assert fresh.again[0].weight.shape == (8, 8, 3, 3)
    assert fresh(images(16)).shape == (2, 10)
    state = fresh.state_dict()
    assert state.keys() == form.tensors.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in form.tensors.items())


def test_a_tensor_with_two_names_is_not_made_two_of_without_a_word() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    network[2].weight = network[1].weight
    with pytest.raises(ModelMismatchError, match=r"1\.weight and 2\.weight are one tensor"):
        prune(network, images(16), Order(0.5))


def test_a_tensor_with_two_names_that_keeps_its_size_stays_one() -> None:
    def make() -> nn.Module:
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 3, 3), nn.Conv2d(3, 3, 1),
            nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10),
        )  # fmt: skip
        network[4].weight = network[3].weight
        return network

    form = prune(seeded(make), images(16), Order(0.5))
    fresh = seeded(make)
    reform(fresh, form, "form")
    assert fresh[4].weight is fresh[3].weight
    assert fresh[0].out_channels == 8


@pytest.mark.filterwarnings("ignore")
def test_normalised_weights_are_told_in_one_line() -> None:
    def network(normalised: Callable[[nn.Module], nn.Module]) -> nn.Module:
        return nn.Sequential(
            normalised(nn.Conv2d(3, 16, 3)), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(16, 10),
        )  # fmt: skip

    with pytest.raises(ModelMismatchError, match="cannot be pruned: torch-pruning does not follow"):
        prune(network(nn.utils.parametrizations.weight_norm), images(16), Order(0.5))
    old = network(nn.utils.weight_norm)
    old(images(16))
    with pytest.raises(
        ModelMismatchError, match=r"take torch\.nn\.utils\.parametrizations\.weight"
    ):
        prune(old, images(16), Order(0.5))
