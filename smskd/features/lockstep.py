"""Two networks run side by side, exchanging what they feel at each tap pair.

A network's layers cannot be called one by one unless it was written for that. Its forward pass can
be held up in a hook, though: each network runs in a thread of its own, waits at every tap for the
other, and goes on with what the exchange gave it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call

from foundation.errors import ModelMismatchError
from smskd.features.maps import as_map, put_back
from smskd.features.taps import TappedModel, evaluating

Exchange = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(place, feature of the first, of the second) -> what each goes on with."""


def run_in_lockstep(
    first: TappedModel, second: TappedModel, images: tuple[Tensor, Tensor], exchange: Exchange
) -> tuple[Tensor, Tensor]:
    """The logits of two networks that exchange features at each tap pair.

    Both run in evaluation mode, on parameters through which gradients pass but at which none
    arrive.

    Args:
        first, second: networks with as many taps.
        images: what each of them sees.
        exchange: what each goes on with at a tap pair.

    Returns:
        Logits of both, shape (N, classes).

    Raises:
        ModelMismatchError: unless each tap runs once in a pass, in the order of the taps.
    """
    meeting = _Meeting(exchange, (first.taps, second.taps))
    networks = (first, second)
    logits: list[Tensor | None] = [None, None]
    errors: list[BaseException] = []
    settings = _ThreadSettings(images[0].device.type)

    def run(side: int) -> None:
        try:
            with settings.applied():
                logits[side] = _run(networks[side], images[side], partial(meeting.meet, side))
                meeting.part(side)
        except threading.BrokenBarrierError:
            pass  # the other one failed, and tells why
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    with evaluating(first.model), evaluating(second.model):
        thread = threading.Thread(target=run, args=(1,), daemon=True)
        thread.start()
        run(0)
        thread.join()
    if errors:
        raise errors[0]
    first_logits, second_logits = logits
    assert first_logits is not None and second_logits is not None
    return first_logits, second_logits


class _Meeting:
    """Where two threads exchange features."""

    def __init__(self, exchange: Exchange, taps: tuple[Sequence[str], Sequence[str]]) -> None:
        self.exchange, self.taps = exchange, taps
        self.next_places = [0, 0]
        self.brought: dict[int, Tensor] = {}
        self.exchanged: tuple[Tensor, Tensor] | None = None
        self.barrier = threading.Barrier(2)

    def meet(self, side: int, place: int, feature: Tensor) -> Tensor:
        """Bring one's feature; go on with what the exchange gives."""
        if place != self.next_places[side]:
            raise _out_of_step(self.taps[side], self.taps[side][place])
        self.next_places[side] += 1
        self.brought[side] = feature
        self.barrier.wait()
        if side == 0:
            self.exchanged = self.exchange(place, self.brought[0], self.brought[1])
        self.barrier.wait()
        assert self.exchanged is not None
        return self.exchanged[side]

    def part(self, side: int) -> None:
        """Make sure, at the end, that nobody is left waiting for the other."""
        if self.next_places[side] < len(self.taps[side]):
            raise _out_of_step(self.taps[side], self.taps[side][self.next_places[side]])


def _out_of_step(taps: Sequence[str], tap: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"features can be exchanged at taps that run once in a pass and in their order, but of "
        f"{list(taps)}, {tap!r} does not; name other taps"
    )


class _ThreadSettings:
    """Autocast and grad mode belong to a thread; a new one starts without them."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.enabled = torch.is_autocast_enabled(device)
        self.dtype = torch.get_autocast_dtype(device)
        self.grad = torch.is_grad_enabled()

    def applied(self) -> ExitStack:
        """A context with the settings of the thread that made this."""
        stack = ExitStack()
        # The cache would be dropped by whichever thread leaves first.
        stack.enter_context(
            torch.autocast(self.device, self.dtype, self.enabled, cache_enabled=False)
        )
        stack.enter_context(torch.set_grad_enabled(self.grad))
        return stack


def _run(tapped: TappedModel, images: Tensor, meet: Callable[[int, Tensor], Tensor]) -> Tensor:
    def swap(place: int, passing: Tensor) -> Tensor:
        feature = as_map(passing)
        assert feature is not None
        return put_back(meet(place, feature), passing)

    with ExitStack() as hooks:
        for place in range(len(tapped.taps)):
            hooks.callback(tapped.add_hook(place, partial(swap, place)).remove)
        state = {
            name: tensor.detach()
            for name, tensor in [*tapped.model.named_parameters(), *tapped.model.named_buffers()]
        }
        logits: Tensor = functional_call(tapped.model, state, (images,))
    return logits
