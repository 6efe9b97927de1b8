"""Networks of a user's own: brought into a form that can be trained and exported, or refused."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from pipeline.run_folder.folder import Say
from smskd.blame import blamed
from smskd.features.taps import dry_pass, keeping_modes, logits_in

# Beyond what sums in another order leave, and below what dropout and noise do.
_SAME = 1e-4


def bare_network(network: nn.Module, model: str, say: Say) -> nn.Module:
    """A network without what others wrapped it in, in float32 on the CPU.

    Args:
        network: as its factory gave it.
        model: its name in the recipe.
        say: told what was changed.

    Raises:
        ModelMismatchError: when it is a program, or its weights are none that can be trained.
    """
    wrapped: object = network
    while isinstance(inner := _inside(wrapped), nn.Module):
        say(f"{model}: taken out of {type(wrapped).__name__}, which changes no answer")
        wrapped = inner
    assert isinstance(wrapped, nn.Module)
    network = wrapped
    network._compiled_call_impl = None  # what `network.compile()` leaves
    if isinstance(network, torch.jit.ScriptModule):
        raise ModelMismatchError(
            f"model {model!r}: its factory gave TorchScript, a program that cannot be traced or "
            "trained any more; give the torch.nn.Module that it was made from"
        )
    _check_weights(network, model)
    other_types = {p.dtype for p in network.parameters() if p.dtype != torch.float32}
    other_types |= {b.dtype for b in network.buffers() if b.is_floating_point()} - {torch.float32}
    if other_types:
        kinds = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in other_types))
        say(f"{model}: its weights in {kinds} are taken in float32")
    return network.float().cpu()


def check_answers(network: nn.Module, model: str, images: Tensor) -> None:
    """Make sure that a network gives numbers, the same ones twice, for an image alone too.

    Args:
        network: with its weights.
        model: its name in the recipe.
        images: two of them or more, prepared as it takes them.

    Raises:
        ModelMismatchError: when it does not.
    """
    with torch.random.fork_rng():
        first, second = dry_pass(network, images), dry_pass(network, images)
        if not torch.isfinite(first).all():
            raise ModelMismatchError(
                f"model {model!r} gives logits that are NaN or infinite; its weights or its "
                "preprocessing (data.mean, data.std) are not those that it was trained with"
            )
        if _apart(first, second):
            raise ModelMismatchError(
                f"model {model!r} does not answer the same twice in evaluation; is there an "
                "F.dropout without training=self.training, or noise in its forward?"
            )
        try:
            alone = dry_pass(network, images[:1])
        except Exception as error:  # a user's network may fail in any way
            words = str(error).partition("\n")[0]
            raise ModelMismatchError(
                f"model {model!r} takes two images but not one alone: {words}; does its forward "
                "squeeze() the batch axis away? Write flatten(1)"
            ) from error
    if _apart(first[:1], alone):
        raise ModelMismatchError(
            f"model {model!r} answers otherwise for an image alone than in a batch; each answer "
            "must depend on its own image alone (normalisation over the batch?)"
        )


def check_learns(network: nn.Module, model: str, images: Tensor) -> None:
    """Make sure that something in a network can be trained, and that it runs in training mode.

    Args:
        network: as its training will begin with it.
        model: its name in the recipe.
        images: two of them or more, prepared as it takes them.

    Raises:
        ModelMismatchError: when all of its weights are frozen, or it fails in training mode, or
            gives something else than logits in it.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ModelMismatchError(
            f"model {model!r}: all of its weights are frozen (requires_grad is False), so there is "
            "nothing to train; leave those free that shall learn"
        )
    # Batch norm counts what passes through it.
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.random.fork_rng(), torch.no_grad(), keeping_modes(network):
        network.train()
        with blamed(network, "running in training mode"):
            logits_in(network, network(images))
    network.load_state_dict(before)


def _inside(network: object) -> object:
    """What `torch.compile` or a wrapper for several devices holds; None of any other."""
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return network.module
    return getattr(network, "_orig_mod", None)


def _check_weights(network: nn.Module, model: str) -> None:
    parameters = dict(network.named_parameters())
    if not parameters:
        raise ModelMismatchError(f"model {model!r}: the network has no weights")
    for name, tensor in {**parameters, **dict(network.named_buffers())}.items():
        if tensor.is_meta:
            trouble = "has no values (it is on the meta device)"
        elif tensor.is_complex() or tensor.layout != torch.strided or tensor.is_quantized:
            trouble = "is complex, sparse or quantised"
        elif nn.parameter.is_lazy(tensor) or name not in parameters:
            continue
        elif not tensor.is_floating_point():
            trouble = f"is of type {str(tensor.dtype).removeprefix('torch.')}"
        elif not torch.isfinite(tensor).all():
            trouble = "holds values that are NaN or infinite"
        else:
            continue
        raise ModelMismatchError(
            f"model {model!r}: {name} of the network that its factory gave {trouble}; "
            "give one with trained float weights"
        )


def _apart(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return True
    return bool((first - second).abs().max() > _SAME * first.abs().max())
