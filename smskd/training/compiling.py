"""Running a tapped network, as it is or through `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from smskd.features.signals import Signals
from smskd.features.taps import TappedModel


@contextmanager
def runnable(tapped: TappedModel, compiled: bool) -> Iterator[Callable[[Tensor], Signals]]:
    """What runs a tapped network within the block; after it, the network is as it was.

    Args:
        tapped: the network.
        compiled: whether `torch.compile` makes a faster form of it, at the first call.
    """
    if not compiled:
        yield tapped
        return
    # Compiled code does not look for hooks that come and go, so they stay for the whole block.
    with tapped.listening() as run:
        yield torch.compile(run)
