"""Taps that are found: places that stand for a network's depth, in any architecture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_networks import Sharing, halving
from torch import Tensor, nn

from smskd.features.tap_search import find_taps, match_taps
from smskd.features.taps import MAX_TAPS, TappedModel

Net = Callable[..., nn.Module]

IMAGES = torch.randn(2, 1, 32, 32)
SMALL = torch.randn(2, 1, 8, 8)


class Encoder(nn.Module):
    """Blocks between a dropout and a norm, as torchvision's vision transformers have them."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout()
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, 2, width, batch_first=True, norm_first=True)
                for _ in range(depth)
            )
        )
        self.ln = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.ln(self.layers(self.dropout(tokens)))


class LikeTorchvisionsViT(nn.Module):
    def __init__(self, depth: int, width: int = 8) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(1, width, 8, stride=8)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = Encoder(depth, width)
        self.heads = nn.Sequential(nn.Linear(width, 5))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], 1)
        return self.heads(self.encoder(tokens)[:, 0])


def test_a_tap_is_the_last_feature_map_of_each_resolution() -> None:
    """Places 1, 4 and 7 are the activations at 32, 16 and 8 pixels."""
    assert find_taps(halving(2), IMAGES) == ["1", "4", "7"]


def test_only_the_deepest_taps_are_kept() -> None:
    assert MAX_TAPS == 4
    assert find_taps(halving(4), IMAGES) == ["4", "7", "10", "13"]


def test_taps_stand_in_the_order_in_which_they_are_run() -> None:
    """Down from 32 pixels to 16 and up again: the last feature map of 32 comes last."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2),
        nn.Flatten(),
        nn.Linear(2 * 32 * 32, 5),
    )
    assert find_taps(model, IMAGES) == ["1", "2"]


def test_a_submodule_that_runs_several_times_stands_where_it_runs_last() -> None:
    model = Sharing()
    taps = find_taps(model, IMAGES)
    assert taps == ["first", "relu", "pool"]
    shapes = [tuple(feature.shape) for feature in TappedModel(model, taps)(IMAGES).features]
    assert shapes == [(2, 2, 32, 32), (2, 4, 16, 16), (2, 4, 8, 8)]


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [(2, [0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (8, [1, 3, 5, 7])],
)
def test_a_transformer_is_tapped_at_the_end_of_each_quarter(
    vit: Net, depth: int, blocks: list[int]
) -> None:
    assert find_taps(vit(depth=depth), SMALL) == [f"encoder.layers.{block}" for block in blocks]


def test_a_stack_that_four_does_not_divide_is_split_as_evenly_as_can_be(vit: Net) -> None:
    assert find_taps(vit(depth=6), SMALL) == [f"encoder.layers.{block}" for block in (1, 2, 3, 5)]


def test_norms_and_dropouts_around_the_blocks_are_no_blocks() -> None:
    model = LikeTorchvisionsViT(12)
    assert find_taps(model, IMAGES) == [f"encoder.layers.{block}" for block in (2, 5, 8, 11)]


def test_the_longest_stack_is_taken() -> None:
    """All at one resolution: two blocks of three layers each, in a stack of two."""
    blocks = [nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))) for _ in range(2)]
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Conv2d(1, 2, 1)
            self.stack, self.head = nn.Sequential(*blocks), nn.Sequential(*head)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.stack(self.start(images)))

    assert find_taps(Net(), IMAGES) == ["stack.0.0", "stack.0.1", "stack.0.2"]


def test_of_stacks_of_equal_length_the_outermost_is_taken() -> None:
    inner = [nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3))) for _ in range(3)]
    model = nn.Sequential(nn.Sequential(*inner), nn.Flatten(), nn.Linear(1024, 5))
    assert find_taps(model, IMAGES) == ["0.0", "0.1", "0.2"]


def test_a_network_that_is_no_stack_is_tapped_at_its_smallest_parts() -> None:
    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.layer = nn.Conv2d(channels, 2, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images).relu()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = Block(1), Block(2), nn.Linear(2, 5)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.two(self.one(images)).mean((2, 3)))

    assert find_taps(Net(), IMAGES) == ["one.layer", "two.layer"]


def test_a_network_of_vectors_is_tapped_at_them() -> None:
    layers = [nn.Linear(1024, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5)]
    model = nn.Sequential(nn.Flatten(), *layers)
    taps = find_taps(model, IMAGES)
    assert taps == ["0", "1", "3", "4"]
    features = TappedModel(model, taps)(IMAGES).features
    assert [tuple(one.shape[1:]) for one in features[1:]] == [(8, 1, 1), (6, 1, 1), (6, 1, 1)]


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(1024, 8), nn.ReLU(), nn.Linear(8, 5)),
        nn.Sequential(nn.Flatten(), nn.Linear(1024, 8), nn.Sequential(nn.Linear(8, 5))),
        nn.Sequential(nn.Conv2d(1, 5, 32), nn.Identity(), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(1024, 5), nn.Dropout()),
    ],
)
def test_the_logits_are_never_a_tap(model: nn.Module) -> None:
    taps = find_taps(model, IMAGES)
    said = TappedModel(model.eval(), taps)(IMAGES)
    assert all(one.data_ptr() != said.logits.data_ptr() for one in said.features)
    assert len(said.features) == len(taps)


def test_a_network_that_is_one_layer_has_no_taps() -> None:
    assert find_taps(nn.Linear(1024, 5), IMAGES.flatten(1)) == []


def test_what_is_not_one_feature_for_each_image_is_no_tap() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pieces, self.both = nn.Unflatten(0, (2, -1)), nn.Identity()
            self.layer, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2, 5)

        def forward(self, images: Tensor) -> Tensor:
            self.pieces(images.repeat(2, 1, 1, 1))
            self.both(images.repeat(2, 1, 1, 1))
            return self.head(self.layer(images).mean((2, 3)))

    assert find_taps(Net(), IMAGES) == ["layer"]


def test_no_hook_is_left_behind_by_a_search_that_fails() -> None:
    model = halving(2)
    with pytest.raises(RuntimeError):
        find_taps(model, torch.randn(2, 3, 32, 32))
    assert not any(module._forward_hooks for module in model.modules())


def test_taps_are_paired_by_depth_and_the_deepest_are_always_a_pair() -> None:
    student, teacher = match_taps(halving(1), halving(3), IMAGES)
    assert student == ["1", "4"]
    assert teacher == ["4", "10"]
    teacher, student = match_taps(halving(3), halving(2), IMAGES)
    assert student == ["1", "4", "7"]
    assert len(teacher) == 3
    assert teacher[-1] == "10"


def test_a_convolutional_network_is_paired_with_a_transformer(net: Net, vit: Net) -> None:
    assert match_taps(net(), vit(depth=8), SMALL) == (
        ["stem", "body"],
        ["encoder.layers.3", "encoder.layers.7"],
    )


def test_a_network_without_taps_leaves_its_partner_without() -> None:
    linear = nn.Sequential(nn.Linear(1024, 5))
    wide = nn.Sequential(nn.Linear(1024, 9), nn.ReLU(), nn.Linear(9, 5))
    assert match_taps(linear, wide, IMAGES.flatten(1)) == ([], [])


def test_each_network_is_looked_at_with_images_of_its_own_size() -> None:
    fixed = nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, 2, 1), nn.Flatten())
    teacher = nn.Sequential(*fixed, nn.Linear(2 * 4 * 4, 5))
    student, theirs = match_taps(halving(1), teacher, IMAGES, torch.randn(2, 1, 16, 16))
    assert (student, theirs) == (["1", "4"], ["0", "1"])


ZOO = {
    "resnet18": ["layer1", "layer2", "layer3", "layer4"],
    "mobilenet_v3_small": 4,
    "efficientnet_b0": 4,
    "convnext_tiny": 4,
    "swin_t": 4,
    "vit_b_16": [f"encoder.layers.encoder_layer_{n}" for n in (2, 5, 8, 11)],
}


@pytest.mark.parametrize("name", ZOO)
def test_the_networks_of_torchvision_are_tapped_all_the_way_down(name: str) -> None:
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    images = torch.randn(2, 3, *([32, 32] if name == "vit_b_16" else [64, 64]))
    settings = {"image_size": 32, "hidden_dim": 24, "mlp_dim": 24, "num_heads": 2, "num_layers": 12}
    with torch.random.fork_rng():
        if name == "vit_b_16":  # of its structure, and of a smaller size
            model = models.VisionTransformer(patch_size=16, num_classes=7, **settings)
        else:
            model = getattr(models, name)(weights=None, num_classes=7)
    taps = find_taps(model, images)
    features = TappedModel(model.eval(), taps)(images).features
    sides = [feature.shape[2] for feature in features]
    if isinstance(ZOO[name], list):
        assert taps == ZOO[name]
    else:
        assert len(taps) == ZOO[name] == len(set(taps))
    assert sides == sorted(sides, reverse=True)
    if name != "vit_b_16":
        assert len(set(sides)) == len(sides)
        assert sides[-1] == 2
