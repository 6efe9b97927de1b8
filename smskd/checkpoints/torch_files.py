"""Files of torch.save, read without running code, whatever lies in them beside the weights.

Plain data that training scripts keep beside their weights is read as a stand-in of ours: what was
pickled of it is kept, and nothing of its own type is ever imported or called.
"""

from __future__ import annotations

import pickletools
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from foundation.errors import CorruptFileError, MissingFileError

_SAVE_AGAIN = "where it was made, write `torch.save(model.state_dict(), PATH)`, and give that"
_FETCH_AGAIN = "copy or download it again"
_LFS = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_LARGEST_HEADER = 100_000_000  # of a safetensors file, by its own specification


class Inert:
    """Plain data of some other type: what was pickled of it, as it lay in the file.

    Attributes:
        arguments: what its constructor was to get.
        state: its attributes, where there are any by name.
    """

    def __new__(cls, *arguments: Any) -> Inert:
        made = super().__new__(cls)
        made.arguments, made.state = arguments, {}
        return made

    arguments: tuple[Any, ...]
    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Dictionary:
    """Stands for dictionaries of other types; the unpickler fills no others than its own."""

    def __new__(cls, *_arguments: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class _Sequence:
    """The same for lists."""

    def __new__(cls, *_arguments: Any) -> list[Any]:  # type: ignore[misc]
        return []


_NUMBERS = {
    "f2": "<e", "f4": "<f", "f8": "<d", "b1": "<?", "i1": "<b", "i2": "<h", "i4": "<i", "i8": "<q",
    "u1": "<B", "u2": "<H", "u4": "<I", "u8": "<Q",
}  # fmt: skip


def _numpy_scalar(kind: Any, raw: Any = None) -> Any:
    """A number that numpy wrote, as Python's own; what is no plain number stays as it is."""
    code = kind.arguments[0] if isinstance(kind, Inert) and kind.arguments else None
    shape = _NUMBERS.get(code) if isinstance(code, str) else None
    if shape is None or not isinstance(raw, bytes) or len(raw) != struct.calcsize(shape):
        return Inert(kind, raw)
    return struct.unpack(shape, raw)[0]


_OBJECTS = (
    "argparse.Namespace", "types.SimpleNamespace",
    "builtins.list", "builtins.dict", "builtins.tuple", "builtins.int", "builtins.float",
    "builtins.str", "builtins.bool", "builtins.bytes", "builtins.frozenset", "builtins.range",
    "builtins.slice", "builtins.object",
    "datetime.datetime", "datetime.date", "datetime.time", "datetime.timedelta",
    "datetime.timezone", "decimal.Decimal", "fractions.Fraction", "uuid.UUID", "uuid.SafeUUID",
    *(
        f"{module}.{flavour}{system}Path"
        for module in ("pathlib", "pathlib._local")
        for flavour in ("", "Pure")
        for system in ("", "Posix", "Windows")
    ),
    "numpy.dtype", "numpy.ndarray",
    *(
        f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")
    ),
    *(
        f"numpy.{kind}"
        for kind in (
            "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
            "uint32", "uint64", "bool_", "bool",
        )
    ),
    "torch.torch_version.TorchVersion", "torch.memory_format",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode", "omegaconf.nodes.StringNode", "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.FloatNode", "omegaconf.nodes.BooleanNode", "typing.Any",
)  # fmt: skip

_DICTIONARIES = (
    "collections.defaultdict", "easydict.EasyDict", "addict.addict.Dict",
    "yacs.config.CfgNode", "fvcore.common.config.CfgNode", "detectron2.config.config.CfgNode",
    "mmcv.utils.config.ConfigDict", "mmengine.config.config.ConfigDict",
    "munch.Munch", "box.box.Box",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
)  # fmt: skip

_STAND_INS: list[Any] = [
    *((Inert, name) for name in _OBJECTS),
    *((_Dictionary, name) for name in _DICTIONARIES),
    (_Sequence, "collections.deque"),
    *((_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def read_torch_file(path: Path) -> Any:
    """The content of a file of torch.save, with tensors on the CPU. Code in it is never run.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is cut short, damaged, or holds objects that are not plain data.
    """
    start = first_bytes(path)
    if start[:4] == _ZIP:
        _check_archive(path)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals(_STAND_INS),
            path.open("rb") as file,
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # what an unpickler raises on damaged bytes is anyone's guess
        raise CorruptFileError(f"{path}: {_trouble(path, start, str(error))}") from error


def first_bytes(path: Path) -> bytes:
    """The beginning of a file, by which it is told apart.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is empty, or stands for another that was not fetched.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise CorruptFileError(f"{path}: an empty file; {_FETCH_AGAIN}")
    if start.startswith(_LFS):
        raise CorruptFileError(f"{path}: a pointer of Git LFS, not the file; run `git lfs pull`")
    return start


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins so is a safetensors file, whatever its name."""
    return len(start) > 8 and start[8:9] == b"{" and start[:4] != _ZIP


def safetensors_trouble(path: Path, start: bytes) -> str:
    """What is wrong with a safetensors file that cannot be read, in our words."""
    size, header = path.stat().st_size, int.from_bytes(start[:8], "little")
    if not is_safetensors(start):
        return "not a safetensors file"
    if header > min(size - 8, _LARGEST_HEADER):
        return f"its header is said to have {header} bytes, but the file has {size}"
    return "a safetensors file that is cut short or damaged"


def _check_archive(path: Path) -> None:
    """Refuse an archive that is damaged, that unpacks to more than it is, or that is a program."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(_is_program(member.filename) for member in members):
                raise CorruptFileError(
                    f"{path}: a TorchScript archive, which is a program; where it is trusted, "
                    "write `torch.save(torch.jit.load(PATH).state_dict(), OTHER)`, and give that"
                )
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise CorruptFileError(
                    f"{path}: an archive that torch did not write, for it is compressed; "
                    f"{_SAVE_AGAIN}"
                )
            damaged = [member for member in members if not _is_whole(archive, member)]
    except CorruptFileError:
        raise
    except Exception as error:  # sizes and places that lie outside the file
        raise CorruptFileError(
            f"{path}: cut short or damaged (its archive has no readable end); {_FETCH_AGAIN}"
        ) from error
    # Of all of them where torch was told to write no checksums.
    if damaged and len(damaged) < len(members):
        name = Path(damaged[0].filename).name
        raise CorruptFileError(
            f"{path}: damaged (the checksum of {name} in it differs); {_FETCH_AGAIN}"
        )


def _is_whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(member) as content:
            while content.read(1 << 20):
                pass
    except (zipfile.BadZipFile, EOFError):
        return False
    return True


def _is_program(member: str) -> bool:
    return "/code/" in member or member.endswith("/constants.pkl")


def _trouble(path: Path, start: bytes, message: str) -> str:
    match = re.search(r"GLOBAL ([\w.]+)|[Cc]lass ([\w.]+)", message)
    if match:
        return _objects_trouble(path, match[1] or match[2])
    if is_safetensors(start):
        return "a safetensors file under another name; call it .safetensors"
    if start[:4] == _ZIP or start[:2] == b"\x80\x02":
        return f"a torch checkpoint that is cut short or damaged; {_FETCH_AGAIN}"
    return "not a torch checkpoint; save `model.state_dict()` alone, with safetensors or torch.save"


def _objects_trouble(path: Path, name: str) -> str:
    is_network = any(
        type_name.startswith("torch.nn.modules.") for type_name in _types_in(path) or [name]
    )
    content = f"a whole network was pickled ({name})" if is_network else f"it holds {name}"
    return f"{content}, and objects can run code, so it was not loaded; {_SAVE_AGAIN}"


def _types_in(path: Path) -> set[str]:
    """Names of what a checkpoint would import; nothing is. Empty where it cannot be told."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                member = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
                content = archive.read(member)
        else:
            content = path.read_bytes()
        imports = (arg for op, arg, _ in pickletools.genops(content) if op.name == "GLOBAL")
        return {str(arg).replace(" ", ".") for arg in imports}
    except Exception:  # damaged bytes may fail in any way, and the message can do without
        return set()
