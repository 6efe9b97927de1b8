"""What submodules give, as feature maps and back."""

from __future__ import annotations

import itertools

import pytest
import torch

from smskd.features.maps import as_map, put_back


def test_maps_stay_as_they_are() -> None:
    feature = torch.randn(2, 3, 4, 5)
    assert as_map(feature) is feature


def test_maps_with_the_channels_last_are_turned() -> None:
    output = torch.randn(2, 4, 4, 3)
    feature = as_map(output)
    assert feature.shape == (2, 3, 4, 4)
    assert torch.equal(feature[1, 2, 3, 0], output[1, 3, 0, 2])


@pytest.mark.parametrize("shape", [(2, 5, 4, 4), (2, 4, 4, 4), (2, 4, 5, 3), (2, 1, 1, 1)])
def test_maps_whose_channels_may_come_first_are_taken_so(shape: tuple[int, ...]) -> None:
    output = torch.randn(shape)
    assert torch.equal(as_map(output), output)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("side", [4, 7, 14])
def test_tokens_lie_row_by_row_and_those_in_front_have_no_place(prefix: int, side: int) -> None:
    rows = torch.arange(side * side).float().reshape(1, side, side)
    tokens = torch.cat([torch.full((1, prefix), -1.0), rows.flatten(1)], 1).unsqueeze(2)
    feature = as_map(tokens.expand(2, -1, 3))
    assert feature.shape == (2, 3, side, side)
    assert torch.equal(feature[1, 2], rows[0])


@pytest.mark.parametrize("count", [1, 2, 3, 15, 48])
def test_tokens_that_make_no_square_stand_in_a_column(count: int) -> None:
    tokens = torch.randn(2, count, 3)
    feature = as_map(tokens)
    assert feature.shape == (2, 3, count, 1)
    assert torch.equal(feature[1, :, count - 1, 0], tokens[1, count - 1])


def test_vectors_are_maps_of_one_position() -> None:
    vectors = torch.randn(2, 3)
    assert torch.equal(as_map(vectors), vectors.reshape(2, 3, 1, 1))


@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 4, 4, 4)])
def test_what_has_another_number_of_dimensions_is_no_map(shape: tuple[int, ...]) -> None:
    assert as_map(torch.zeros(shape)) is None


SHAPES = [
    *itertools.product([1, 2], [1, 3, 4], [1, 3, 4], [1, 3, 4, 7]),
    *itertools.product([1, 2], range(1, 70), [1, 3]),
    *itertools.product([1, 2], [1, 5]),
]


def test_what_is_put_back_unchanged_is_the_output() -> None:
    for shape in SHAPES:
        output = torch.randn(shape)
        feature = as_map(output)
        assert feature.dim() == 4, shape
        assert feature.shape[0] == shape[0]
        assert torch.equal(put_back(feature, output), output), shape


def test_what_is_changed_is_changed_at_its_own_place_and_nowhere_else() -> None:
    for shape in SHAPES:
        output = torch.randn(shape)
        changed = put_back(as_map(output) + 1, output)
        moved = (changed - output).round()
        assert set(moved.unique().tolist()) <= {0.0, 1.0}
        # Tokens without a place stay; all else is changed.
        assert moved.sum() == as_map(output).numel(), shape


def test_the_class_token_of_a_changed_map_stays() -> None:
    tokens = torch.randn(2, 17, 3)
    back = put_back(torch.zeros(2, 3, 4, 4), tokens)
    assert torch.equal(back[:, 0], tokens[:, 0])
    assert back[:, 1:].abs().sum() == 0


def test_gradients_go_through_in_both_directions() -> None:
    tokens = torch.randn(2, 17, 3, requires_grad=True)
    put_back(2 * as_map(tokens), tokens).sum().backward()
    assert torch.equal(tokens.grad[:, 0], torch.ones(2, 3))
    assert torch.equal(tokens.grad[:, 1:], torch.full((2, 16, 3), 2.0))


def test_tokens_come_back_in_the_type_of_their_network() -> None:
    """Under autocast a changed map may have another one."""
    tokens = torch.randn(2, 17, 3, dtype=torch.bfloat16)
    assert put_back(as_map(tokens).float(), tokens).dtype == torch.bfloat16
