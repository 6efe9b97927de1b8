from __future__ import annotations

import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from foundation.errors import CorruptFileError, MissingFileError, WeightsMismatchError
from smskd.checkpoints.files import (
    content_sha256,
    load_model,
    load_tensors,
    save_model,
    save_tensors,
)

Net = Callable[..., nn.Module]

TENSORS = {
    "float": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "whole": torch.tensor(7),
    "yes": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype
        for name in first
    )


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_tensors_and_facts_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "state.safetensors"
    save_tensors(path, TENSORS, epoch=3, history=[{"loss": 0.5}])
    tensors, facts = load_tensors(path)
    assert same(tensors, TENSORS)
    assert facts == {"epoch": 3, "history": [{"loss": 0.5}]}


def test_the_same_content_has_the_same_bytes(tmp_path: Path) -> None:
    """The library by itself writes facts in any order, another one each time."""
    facts = {f"fact-{number}": number for number in range(8)}
    tensors = {"b": torch.arange(3), "a": torch.ones(2, 2)}
    for name in ("one", "other"):
        save_tensors(tmp_path / name, tensors, **facts)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    again, told = load_tensors(tmp_path / "one")
    assert told == facts
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_tensors_that_share_memory_or_lie_otherwise_are_saved_too(tmp_path: Path) -> None:
    whole = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"a": whole, "b": whole, "part": whole[:, 1]})
    assert same(load_tensors(path)[0], {"a": whole, "b": whole, "part": whole[:, 1]})


def test_a_network_comes_back_with_its_statistics(tmp_path: Path, net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    model(torch.randn(8, 1, 8, 8))
    save_model(tmp_path / "net.safetensors", model)
    load_model(tmp_path / "net.safetensors", other)
    assert same(state(other), state(model))


def test_a_torch_file_with_a_state_dict_is_read(tmp_path: Path, net: Net) -> None:
    model = net(seed=0)
    for name, zipped in (("new.pt", True), ("old.pth", False)):
        other = net(seed=1)
        torch.save(model.state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
        load_model(tmp_path / name, other)
        assert same(state(other), state(model))


def test_a_safetensors_file_of_another_program_is_read(tmp_path: Path, net: Net) -> None:
    model, other = net(seed=0), net(seed=1)
    save_file(state(model), tmp_path / "net.safetensors", {"format": "pt"})
    load_model(tmp_path / "net.safetensors", other)
    assert same(state(other), state(model))
    assert load_tensors(tmp_path / "net.safetensors")[1] == {}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_another_class_count_is_told_with_the_tensor_and_both_shapes(
    tmp_path: Path, net: Net, suffix: str
) -> None:
    path = tmp_path / f"net{suffix}"
    if suffix == ".pt":
        torch.save(net(classes=10).state_dict(), path)
    else:
        save_model(path, net(classes=10))
    expected = r"head\.weight is \(10, 8\) there, \(3, 8\) here"
    with pytest.raises(WeightsMismatchError, match=expected) as caught:
        load_model(path, net(classes=3))
    assert str(path) in str(caught.value)
    assert "ToyNet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_architecture_is_told_with_what_is_missing_and_what_is_unknown(
    tmp_path: Path,
) -> None:
    save_tensors(tmp_path / "net.safetensors", {"bias": torch.ones(2), "gain": torch.ones(2)})
    with pytest.raises(WeightsMismatchError, match="missing there: weight; unknown here: gain"):
        load_model(tmp_path / "net.safetensors", nn.Linear(2, 2))


def test_weights_are_loaded_all_or_nothing(tmp_path: Path, net: Net) -> None:
    """Every tensor but the head's would fit."""
    model = net(classes=3, seed=0)
    before = state(model)
    save_model(tmp_path / "net.safetensors", net(classes=4, seed=1))
    with pytest.raises(WeightsMismatchError):
        load_model(tmp_path / "net.safetensors", model)
    assert same(state(model), before)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, net: Net, name: str) -> None:
    with pytest.raises(MissingFileError, match=name):
        load_model(tmp_path / name, net())


def test_no_flipped_byte_goes_unnoticed(tmp_path: Path) -> None:
    """In the tensors, the facts, the names: the file is refused, or nothing of it is another."""
    path = tmp_path / "state.safetensors"
    tensors = {"a": torch.arange(5.0), "b": torch.tensor([1, 2])}
    save_tensors(path, tensors, epoch=3)
    size, refused = path.stat().st_size, 0
    for place in range(size):
        flip(path, place)
        try:
            found, facts = load_tensors(path)
        except CorruptFileError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            # The checksum's own name was hit: then no fact is believed either.
            assert same(found, tensors)
            assert facts == {}
        flip(path, place)
    assert refused >= size - len("content_sha256")
    assert load_tensors(path)[1] == {"epoch": 3}


def test_a_truncated_file_is_refused(tmp_path: Path, net: Net) -> None:
    path = tmp_path / "net.safetensors"
    save_model(path, net())
    content = path.read_bytes()
    for length in (0, 4, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptFileError, match=r"net\.safetensors"):
            load_model(path, net())


def test_a_damaged_torch_file_is_refused_or_read_but_never_a_surprise(tmp_path: Path) -> None:
    """A torch file has no checksum of its own that is looked at, so some damage passes."""
    path = tmp_path / "net.pt"
    model = nn.Linear(2, 2)
    torch.save(model.state_dict(), path)
    content, refused = path.read_bytes(), 0
    for place in range(0, len(content), 3):
        flip(path, place)
        try:
            load_model(path, model)
        except (CorruptFileError, WeightsMismatchError):
            refused += 1
        path.write_bytes(content)
    assert refused > 20
    for length in range(0, len(content), 50):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptFileError, match=r"net\.pt"):
            load_model(path, model)


class Trap:
    """A pickle of it creates a file when it is opened carelessly."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.sprung,))


def test_a_file_with_code_is_refused_and_the_code_does_not_run(tmp_path: Path, net: Net) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"head.weight": Trap(sprung)}, tmp_path / "new.pt")
    torch.save(Trap(sprung), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    for name in ("new.pt", "old.pt", "plain.pt"):
        with pytest.raises(CorruptFileError, match="not loaded"):
            load_model(tmp_path / name, net())
        assert not sprung.exists()
    pickle.loads((tmp_path / "plain.pt").read_bytes())
    assert sprung.exists(), "the trap itself does not work"


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}, torch.zeros(2)])
def test_a_torch_file_that_is_no_state_dict_is_refused(
    tmp_path: Path, net: Net, content: object
) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(CorruptFileError, match="not a state dict"):
        load_model(tmp_path / "net.pt", net())


def test_the_checksum_is_of_the_values_and_not_of_how_they_lie() -> None:
    images = torch.randn(2, 3, 4, 4)
    turned = images.to(memory_format=torch.channels_last).requires_grad_()
    assert content_sha256({"a": images}) == content_sha256({"a": turned})
    assert content_sha256({"a": images}) != content_sha256({"b": images})
    assert content_sha256({"a": images}) != content_sha256({"a": images.flatten()})
    assert content_sha256({"a": images}) != content_sha256({"a": images}, {"epoch": "3"})


def test_a_full_disk_is_told_and_the_earlier_file_stays(tmp_path: Path) -> None:
    """A file-size limit stands for the full disk; the operating system reports both alike."""
    path = tmp_path / "net.safetensors"
    save_tensors(path, {"a": torch.zeros(10)})
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from smskd.checkpoints.files import save_tensors\n"
        "from foundation.errors import NoSpaceError\n"
        "try: save_tensors(Path(sys.argv[1]), {'a': torch.ones(100_000)})\n"
        "except NoSpaceError as error: print(error); sys.exit(18)"
    )

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    ended = subprocess.run(
        [sys.executable, "-c", code, path],
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 18, ended.stderr
    assert str(path) in ended.stdout
    assert torch.equal(load_tensors(path)[0]["a"], torch.zeros(10))
    assert list(tmp_path.iterdir()) == [path]
