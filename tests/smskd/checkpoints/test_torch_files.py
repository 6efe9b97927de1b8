"""Files of torch.save: plain data beside the weights is read, and nothing in them ever runs."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import os
import pickle
import resource
import struct
import types
import zipfile
from collections.abc import Callable
from pathlib import Path, PosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from foundation.errors import CorruptFileError, MissingFileError
from smskd.checkpoints.files import load_tensors
from smskd.checkpoints.foreign import recorded_architecture
from smskd.checkpoints.torch_files import Inert, read_torch_file

WEIGHTS = {"weight": torch.arange(4.0)}


def written(path: Path, beside: Any) -> Path:
    torch.save({"state_dict": WEIGHTS, "beside": beside}, path)
    return path


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, path=Path("x")),
        types.SimpleNamespace(a=1),
        np.float64(91.2),
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        np.arange(3),
        np.array(["a", {"b": 1}], dtype=object),
        np.dtype("float32"),
        np.zeros(3, dtype=[("a", "f4"), ("b", "i8")]),
        PosixPath("a/b"),
        PureWindowsPath("c:/x"),
        collections.defaultdict(list, {"acc": [1, 2]}),
        collections.defaultdict(float),
        collections.OrderedDict(a=1),
        collections.Counter([10, 20]),
        collections.deque([1, 2], maxlen=5),
        {1, 2},
        frozenset({3}),
        range(3),
        1 + 2j,
        b"bytes",
        datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        datetime.timedelta(1),
        torch.Size([1, 2]),
        torch.float16,
        torch.device("cpu"),
        torch.__version__,
        np.random.default_rng(0).bit_generator.state,
        np.random.RandomState(0).get_state(),
        torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1).state_dict(),
    ],
    ids=lambda beside: type(beside).__name__,
)
def test_plain_data_beside_the_weights_is_no_obstacle(tmp_path: Path, beside: Any) -> None:
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save({"state_dict": WEIGHTS, "beside": beside}, tmp_path / "x.pt", **options)
        content = read_torch_file(tmp_path / "x.pt")
        assert content["state_dict"]["weight"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["pathlib WindowsPath", "pathlib._local PosixPath"])
def test_a_path_of_another_system_is_no_obstacle(tmp_path: Path, name: str) -> None:
    content = f"\x80\x02c{name.replace(' ', chr(10))}\nX\x01\x00\x00\x00a\x85R.".encode("latin-1")
    read_torch_file(archive(tmp_path / "x.pt", content))


def test_numbers_of_numpy_are_numbers_and_settings_keep_their_names(tmp_path: Path) -> None:
    beside = [np.float64(91.5), np.int32(-7), argparse.Namespace(model="resnet18")]
    number, whole, args = read_torch_file(written(tmp_path / "x.pt", beside))["beside"]
    assert (number, whole, args.state) == (91.5, -7, {"model": "resnet18"})
    assert recorded_architecture({"args": args}) == "resnet18"


def archive(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    return path


class Reduced:
    """Pickled as a call of any function."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def factory() -> None:
    """Of a user's own module."""


class WithState:
    """Whose attributes are set by code of its own."""

    def __init__(self) -> None:
        self.path = "x"

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise AssertionError("ran")


HOSTILE: dict[str, Callable[[str], Any]] = {
    "posix.system": lambda to: Reduced(os.system, (f"touch {to}",)),
    "eval": lambda to: Reduced(eval, (f"open({to!r}, 'w')",)),
    "exec": lambda to: Reduced(exec, (f"open({to!r}, 'w')",)),
    "getattr": lambda to: Reduced(getattr, (Path(to), "touch")),
    "io.open": lambda to: Reduced(open, (to, "w")),
    "numpy._core.multiarray.frombuffer": lambda to: Reduced(np.frombuffer, (b"1234",)),
    "functools.partial": lambda to: __import__("functools").partial(os.system, f"touch {to}"),
    "test_torch_files.factory": lambda to: collections.defaultdict(factory),
    "test_torch_files.WithState": lambda to: WithState(),
    "operator.attrgetter": lambda to: __import__("operator").attrgetter("x"),
    "torch.hub.load": lambda to: Reduced(torch.hub.load, ("x", "y")),
    "numpy.load": lambda to: Reduced(np.load, (to,)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_run_code_is_refused_by_name_and_does_not_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "ran"
    path = written(tmp_path / "x.pt", HOSTILE[name](str(mark)))
    with pytest.raises(
        CorruptFileError, match="so it was not loaded; where it was made"
    ) as refused:
        read_torch_file(path)
    assert not mark.exists()
    assert "\n" not in str(refused.value)
    if name not in ("exec", "eval"):
        assert name.partition(".")[0].strip("_") in str(refused.value)


def opcodes(*parts: bytes | str) -> bytes:
    raw = (part.encode() if isinstance(part, str) else part for part in parts)
    return b"\x80\x02" + b"".join(raw) + b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


CORE = "numpy.core.multiarray"
HUGE = b"J\xff\xff\xff\x7f\x85"  # (2 ** 31 - 1,)


@pytest.mark.parametrize(
    "pickled",
    [
        # numpy's builders with objects that are none of its own, and with sizes beyond memory.
        opcodes(f"c{CORE}\n_reconstruct\n", "cnumpy\nndarray\n", HUGE, text("b"), b"\x87R"),
        opcodes(f"c{CORE}\nscalar\n", "cnumpy\ndtype\n", text("O"), b"\x85R", text("x"), b"\x86R"),
        # Attributes set on what was made: a stand-in keeps them and looks at none.
        opcodes(b"cargparse\nNamespace\n)\x81", b"}", text("__class__"), text("x"), b"sb"),
        opcodes(b"cargparse\nNamespace\n)\x81", b"}", text("__setstate__"), text("x"), b"sb"),
        opcodes("cbuiltins\nlist\n)R"),
    ],
    ids=["reconstruct", "scalar", "class", "setstate", "called"],
)
def test_names_that_are_allowed_stand_for_nothing_that_could_run(
    tmp_path: Path, pickled: bytes
) -> None:
    content = read_torch_file(archive(tmp_path / "x.pt", pickled))
    assert type(content) is Inert


def test_a_whole_pickled_network_is_refused_with_its_class(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "model": nn.Linear(2, 2)}, tmp_path / "x.pt")
    with pytest.raises(
        CorruptFileError,
        match=r"a whole network was pickled \(torch\.nn\.modules\.linear\.Linear\).*not loaded; "
        r"where it was made, write `torch\.save\(model\.state_dict\(\), PATH\)`",
    ):
        read_torch_file(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_called_a_program(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "net.pt")
    with pytest.raises(CorruptFileError, match=r"TorchScript archive.*torch\.jit\.load") as refused:
        read_torch_file(tmp_path / "net.pt")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"net\.pth: no such file"):
        read_torch_file(tmp_path / "net.pth")


def large(options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.randn(1000), "b": torch.randn(1000)}, buffer, **options)
    return buffer.getvalue()


ZIPPED: dict[str, Any] = {}
LEGACY = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize(
    ("options", "spoil"),
    [
        (ZIPPED, lambda raw: raw[:-1000]),
        (ZIPPED, lambda raw: raw[1000:]),
        (ZIPPED, lambda raw: raw[:40]),
        (ZIPPED, lambda raw: raw[:4000] + b"\0" * (len(raw) - 4000)),
        (ZIPPED, lambda raw: raw[:5000] + bytes([raw[5000] ^ 255]) + raw[5001:]),
        (ZIPPED, lambda raw: raw[:-200] + b"\xff" * 200),
        (LEGACY, lambda raw: raw[:-1000]),
        (LEGACY, lambda raw: raw[:40]),
        (LEGACY, lambda raw: raw[:200] + b"\0" * (len(raw) - 200)),
        (ZIPPED, lambda raw: b""),
        (ZIPPED, lambda raw: b"\0" * len(raw)),
        (ZIPPED, lambda raw: b"<!DOCTYPE html><html>404</html>"),
        (ZIPPED, lambda raw: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    tmp_path: Path, options: dict[str, Any], spoil: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(spoil(large(options)))
    with pytest.raises(CorruptFileError, match=r"^/.*net\.pt: [^\n]+$"):
        read_torch_file(path)


def test_a_file_without_checksums_is_taken(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = written(tmp_path / "x.pt", 1)
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_torch_file(path)["state_dict"]["weight"].tolist() == [0, 1, 2, 3]


def test_sizes_that_a_file_only_claims_take_no_memory(tmp_path: Path) -> None:
    billion = 10**10
    compressed = tmp_path / "compressed.pt"
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickle.dumps({}, 2))
        file.writestr("archive/data/0", b"\0" * 10**8)
    header = b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (billion, 4 * billion)
    claimed = tmp_path / "claimed.safetensors"
    claimed.write_bytes(len(header).to_bytes(8, "little") + header)
    endless = tmp_path / "endless.safetensors"
    endless.write_bytes(billion.to_bytes(8, "little") + b'{"a":1}')
    legacy = tmp_path / "legacy.pt"
    raw = large(LEGACY)
    legacy.write_bytes(raw.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path, read in (
        (compressed, read_torch_file),
        (legacy, read_torch_file),
        (claimed, load_tensors),
        (endless, load_tensors),
    ):
        with pytest.raises(CorruptFileError, match=path.name):
            read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
