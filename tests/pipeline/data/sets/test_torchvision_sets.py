"""CIFAR-10, CIFAR-100 and Fashion-MNIST: read by torchvision from files in the published format."""

from __future__ import annotations

import hashlib
import pickle
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torchvision

from foundation.errors import CorruptFileError, MissingFileError
from pipeline.data import load_dataset
from pipeline.data.framing import Fit
from pipeline.recipe.sections.data import DataRecipe

CIFARS = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}
FILES = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "fashion-mnist": "FashionMNIST/raw",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Names of servers are not known, as on a machine without a network."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    yield
    socket.setdefaulttimeout(None)


def load(name: str, root: Path, **settings):
    return load_dataset(DataRecipe(name=f"{name}:{root}", **settings))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(params=CIFARS)
def cifar(request, tmp_path: Path, monkeypatch) -> tuple[str, Path]:
    """Tiny batch files in CIFAR's format; only torchvision's table of checksums is exchanged."""
    name: str = request.param
    kind = CIFARS[name]
    folder = tmp_path / FILES[name]
    folder.mkdir()
    key = "labels" if name == "cifar10" else "fine_labels"

    def write(file: str, content: object) -> str:
        (folder / file).write_bytes(pickle.dumps(content))
        return md5(folder / file)

    def listed(batches: list) -> list[list[str]]:
        rows = []
        for number, (file, _) in enumerate(batches):
            # Planes of red, green and blue, as CIFAR has them.
            planes = np.arange(4)[:, None] * 3 + np.repeat(np.arange(3), 1024) + 20 * number
            content = {"data": planes.astype(np.uint8), key: [0, 1, 2, 1]}
            rows.append([file, write(file, content)])
        return rows

    monkeypatch.setattr(kind, "train_list", listed(kind.train_list))
    monkeypatch.setattr(kind, "test_list", listed(kind.test_list))
    meta = kind.meta
    names = {meta["key"]: ["aeroplane", "bird", "cat"]}
    monkeypatch.setattr(kind, "meta", {**meta, "md5": write(meta["filename"], names)})
    return name, tmp_path


def test_cifar_is_read_from_its_batch_files(cifar) -> None:
    name, root = cifar
    dataset = load(name, root)
    batches = 5 if name == "cifar10" else 1
    assert dataset.train.labels.tolist() == [0, 1, 2, 1] * batches
    assert dataset.classes == ["aeroplane", "bird", "cat"]
    images = dataset.test.read(np.arange(4))
    assert (images.shape, images.dtype) == ((4, 32, 32, 3), np.uint8)
    assert images[:, 5, 9].tolist() == [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(4)]


def test_cifar_is_read_at_any_size(cifar) -> None:
    name, root = cifar
    train = load(name, root).train
    assert train.read(np.array([0]), Fit(48, 48)).shape == (1, 48, 48, 3)
    assert train.read(np.array([1]), Fit(16, 16))[0, 0, 0].tolist() == [3, 4, 5]


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("which", ["train_list", "test_list", "meta"])
def test_a_cifar_file_that_was_tampered_with_is_refused_and_never_unpickled(
    cifar, which: str, tmp_path: Path
) -> None:
    name, root = cifar
    table = getattr(CIFARS[name], which)
    file = root / FILES[name] / (table["filename"] if which == "meta" else table[0][0])
    trace = tmp_path / "trace"
    file.write_bytes(pickle.dumps({"data": Bomb(trace), "labels": [], "fine_labels": []}))
    with pytest.raises(CorruptFileError, match=FILES[name]) as caught:
        load(name, root)
    assert not trace.exists()
    assert "\n" not in str(caught.value)
    # The bomb does work.
    pickle.loads(file.read_bytes())
    assert trace.exists()


@pytest.mark.parametrize("name", FILES)
def test_without_files_and_network_one_line_says_what_to_do(name: str, tmp_path: Path) -> None:
    socket.setdefaulttimeout(77.0)
    with pytest.raises((MissingFileError, CorruptFileError)) as caught:
        load(name, tmp_path)
    assert socket.getdefaulttimeout() == 77.0
    said = str(caught.value)
    assert isinstance(caught.value, MissingFileError)
    assert said.startswith(str(tmp_path / FILES[name]))
    assert "by hand" in said
    assert "http" in said
    assert "\n" not in said


def test_a_server_that_never_answers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.data import torchvision_sets  # noqa: PLC0415

    monkeypatch.undo()  # this one resolves names
    monkeypatch.setattr(torchvision_sets, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/cifar.tar.gz"
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", url)
        with pytest.raises(MissingFileError, match="could not be fetched"):
            load("cifar10", tmp_path)


def idx(array: np.ndarray) -> bytes:
    """An array as an idx file of unsigned bytes."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}i", *array.shape
    )
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    folder = tmp_path / FILES["fashion-mnist"]
    folder.mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 10)):
        pictures = np.arange(count)[:, None, None] * np.ones((28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(pictures))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return tmp_path


def test_fashion_mnist_is_read_from_its_idx_files(fashion: Path) -> None:
    dataset = load("fashion-mnist", fashion)
    assert dataset.train.labels.tolist() == [*range(10)] * 2
    assert dataset.train.labels.dtype == np.int64
    images = dataset.test.read(np.arange(10))
    assert (images.shape, images.dtype) == ((10, 28, 28, 1), np.uint8)
    assert images[:, 0, 0, 0].tolist() == list(range(10))
    assert dataset.classes[:2] == ["T-shirt/top", "Trouser"]
    assert load("fashion-mnist", fashion).train.read(np.array([3]), Fit(32, 32)).shape == (
        (1, 32, 32, 1)
    )


@pytest.mark.parametrize("content", [b"", b"no idx file at all", idx(np.zeros((20, 28)))[:100]])
def test_a_fashion_mnist_file_that_is_spoilt_is_refused(fashion: Path, content: bytes) -> None:
    path = fashion / FILES["fashion-mnist"] / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="FashionMNIST/raw") as caught:
        load("fashion-mnist", fashion)
    assert "\n" not in str(caught.value)
