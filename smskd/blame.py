"""A network is somebody else's code: what it raises is told in one line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from foundation.errors import (
    CompressError,
    ModelMismatchError,
    is_no_space,
    is_want_of_memory,
)
from foundation.user_code import first_line, place_of

_NO_COPY = "support the deepcopy protocol"
_ALONE = "Expected more than 1 value per channel"


@contextmanager
def blamed(network: nn.Module, doing: str) -> Iterator[None]:
    """Turn what a network's code raises within the block into an error that names it.

    A full disk and want of memory are no fault of the network's and pass as they are.

    Args:
        network: whose code runs.
        doing: what it was doing: "training in stage kd, on 8 images".

    Raises:
        ModelMismatchError: with the network's class, what it was doing, the reason, and the line
            of the user's file where there is one.
    """
    try:
        yield
    except CompressError:
        raise
    except Exception as error:
        if is_want_of_memory(error) or (isinstance(error, OSError) and is_no_space(error)):
            raise
        raise ModelMismatchError(
            f"{type(network).__name__} failed while {doing}: {_reason(error)}{place_of(error)}"
        ) from error


def _reason(error: Exception) -> str:
    words = str(error)
    if _ALONE in words:
        return (
            "batch normalisation has a single value for each channel, so it cannot normalise: a "
            "batch of one image whose features are one pixel wide; take larger batches "
            "(data.batch_size) or larger images (data.image_size)"
        )
    if _NO_COPY in words:
        return (
            "one of its tensors is computed and cannot be copied; of torch.nn.utils.weight_norm, "
            "take torch.nn.utils.parametrizations.weight_norm instead"
        )
    return first_line(error)
