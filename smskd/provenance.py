"""What tells one set of batches from another, so that work on other data is not gone on with.

A loader is asked for nothing that would use it up: its own word, or else how long it is and what a
few items of its dataset hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smskd.batch import Batches, sample_count

_ITEMS = 16
_WHOLE_BYTES = 1 << 26


def known_by(batches: Batches | None) -> Any:
    """What tells these batches from others, as JSON values.

    Their own `fingerprint`, where that is text. Otherwise the numbers of batches and samples, and
    the content of what can be asked for by number: the `tensors` of a TensorDataset, `targets`,
    and a few items of a dataset or of a list of batches, spread evenly. Items that are not the
    same twice, drawn with the same random numbers, count for nothing.
    """
    if batches is None:
        return None
    own = getattr(batches, "fingerprint", None)
    if isinstance(own, str):
        return own
    items = getattr(batches, "dataset", batches)
    return {
        "samples": sample_count(batches),
        "batches": _length(batches),
        "tensors": [_tensor_digest(t) for t in getattr(items, "tensors", ())],
        "targets": _digest_of([getattr(items, "targets", None)]),
        "items": _items_digest(items),
    }


def _length(batches: Any) -> int | None:
    try:
        return len(batches)
    except Exception:  # none, or a loader's that fails in a way of its own
        return None


def _items_digest(items: Any) -> str | None:
    """Of a few items; None where they cannot be had by number, or are not the same twice."""
    length = _length(items)
    if not length or not hasattr(items, "__getitem__") or isinstance(items, Mapping):
        return None
    places = np.unique(np.linspace(0, length - 1, _ITEMS).astype(int)).tolist()
    digests = set()
    try:
        for _ in range(2):
            with _drawing_the_same():
                digests.add(_digest_of([items[place] for place in places]))
    except Exception:  # a user's dataset may fail in any way; the training will tell of it
        return None
    return digests.pop() if len(digests) == 1 else None


@contextlib.contextmanager
def _drawing_the_same() -> Iterator[None]:
    """Random numbers that are the same each time; the caller's own stay where they were."""
    plain, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numbers)


def _digest_of(value: Any) -> str | None:
    """Of plain data with tensors, arrays and pictures in it; None where there is something else."""
    digest = hashlib.sha256()
    try:
        for part in _parts(value):
            digest.update(part)
    except TypeError:
        return None
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    """A value's bytes.

    Raises:
        TypeError: when it is of a kind that is not known.
    """
    if isinstance(value, Tensor):
        yield _tensor_digest(value).encode()
    elif isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, str | bytes | int | float | None):
        yield repr(value).encode()
    elif isinstance(value, Mapping):
        yield from _parts([list(value), list(value.values())])
    elif isinstance(value, Sequence):
        yield f"{len(value)}:".encode()
        for item in value:
            yield from _parts(item)
    elif callable(getattr(value, "tobytes", None)):  # Pillow's images
        yield f"{getattr(value, 'mode', '')} {getattr(value, 'size', '')}".encode()
        yield value.tobytes()
    else:
        raise TypeError(f"a {type(value).__name__}")


def _tensor_digest(tensor: Tensor) -> str:
    """Of a tensor's values; of a large one, of rows spread evenly."""
    rows = tensor.detach()
    size = rows.numel() * rows.element_size()
    if size > _WHOLE_BYTES and len(rows) > 1:
        count = max(_WHOLE_BYTES * len(rows) // size, 1)
        rows = rows[torch.linspace(0, len(rows) - 1, count).long().to(rows.device)]
    plain = rows.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(plain.tobytes())
    return digest.hexdigest()
