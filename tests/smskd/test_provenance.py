from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from smskd import Stage, distill
from smskd.provenance import known_by


def tensors(seed: int = 0, count: int = 24) -> tuple[Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 4, 4, generator=numbers), torch.arange(count) % 3


def loader(seed: int = 0, count: int = 24, **how: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*tensors(seed, count)), **{"batch_size": 8, **how})


class Pictures(Dataset[Any]):
    """Pictures with labels; turned at random, from a generator of their own if they have one."""

    def __init__(self, shade: int = 0, *, own: bool = False, fails: bool = False) -> None:
        self.shade, self.fails = shade, fails
        self.numbers = np.random.default_rng() if own else None

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        if self.fails:
            raise RuntimeError("no luck")
        turn = self.numbers.random() if self.numbers is not None else random.random()
        drawn = torch.rand(2), np.random.rand(2), turn
        return Image.new("L", (4, 4), self.shade + index), {"label": index % 3, "drawn": drawn}


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("nobody may begin a stream to look at it")


class Own:
    """Any iterable; may say what it is known by."""

    def __init__(self, fingerprint: object) -> None:
        self.fingerprint = fingerprint

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("nobody may begin it to look at it")


ALIKE = {
    "tensors": (loader(), loader(shuffle=True)),
    "pictures that are turned at random": (DataLoader(Pictures()), DataLoader(Pictures())),
    "a list of batches": ([tensors()], [tensors()]),
    "its own word": (Own("a"), Own("a")),
    "a stream": (DataLoader(Stream()), DataLoader(Stream())),
    "a dataset that fails": (DataLoader(Pictures(fails=True)), DataLoader(Pictures(fails=True))),
    "numbers of its own": (DataLoader(Pictures(own=True)), DataLoader(Pictures(own=True))),
}
OTHERS = {
    "tensors": (loader(), loader(seed=1)),
    "how many": (loader(), loader(count=32)),
    "pictures": (DataLoader(Pictures()), DataLoader(Pictures(1))),
    "a list of batches": ([tensors()], [tensors(1)]),
    "its own word": (Own("a"), Own("b")),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_the_same_data_is_known_again(kind: str) -> None:
    first, second = ALIKE[kind]
    assert known_by(first) == known_by(first) == known_by(second)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_data_is_told_apart(kind: str) -> None:
    first, second = OTHERS[kind]
    assert known_by(first) != known_by(second)


def test_one_value_of_a_tensor_is_enough() -> None:
    images, labels = tensors()
    changed = images.clone()
    changed[7, 0, 1, 1] += 1e-3
    first, second = (DataLoader(TensorDataset(one, labels)) for one in (images, changed))
    assert known_by(first) != known_by(second)


def test_of_large_tensors_some_rows_are_looked_at() -> None:
    rows = torch.zeros(3, 1 << 23)  # 96 MiB
    first = known_by(DataLoader(TensorDataset(rows)))
    rows[0, 5] = 1
    assert known_by(DataLoader(TensorDataset(rows))) != first


def test_looking_draws_none_of_the_callers_random_numbers() -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    known_by(DataLoader(Pictures()))
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def test_a_folder_of_other_data_or_of_another_beginning_is_not_gone_on_with(tmp_path: Path) -> None:
    def trained(data: DataLoader[Any], validation: Any = None, **more: Any) -> dict[str, Tensor]:
        teacher, student = network(0), network(1)
        stages = [Stage("kd", epochs=1)]
        distill(teacher, student, data, stages, tmp_path, validation=validation, **more)
        return student.state_dict()

    first = trained(loader())
    written = (tmp_path / "1-kd/metrics.json").stat().st_mtime_ns
    again = trained(loader())
    assert (tmp_path / "1-kd/metrics.json").stat().st_mtime_ns == written
    assert all(torch.equal(again[name], first[name]) for name in first)
    other = trained(loader(seed=1))
    assert not torch.equal(other["3.weight"], first["3.weight"])
    for more in ({"validation": loader(2)}, {"validation": loader(3)}, {"beginning": "abc"}):
        written = (tmp_path / "1-kd/metrics.json").stat().st_mtime_ns
        trained(loader(seed=1), **more)
        assert (tmp_path / "1-kd/metrics.json").stat().st_mtime_ns > written, more
