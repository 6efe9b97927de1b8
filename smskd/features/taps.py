"""Taps: named places in a network where a feature is read. Any `nn.Module` can be tapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from foundation.errors import ModelMismatchError, unknown_name
from smskd.blame import blamed
from smskd.features.maps import as_map
from smskd.features.signals import Signals

MAX_TAPS = 4

BEFORE = ":input"
"""Behind a tap's name: what goes into the submodule is read, and not what comes out of it. So a
feature can be had in front of a ReLU."""

See = Callable[[Any], Any]
"""Is shown what passes a tap; what it gives back goes on in its place, unless that is None."""


class TappedModel:
    """A network together with the taps at which its features are read.

    Args:
        model: any network that maps images to logits of shape (N, classes).
        taps: names of submodules, as in `model.named_modules()`; with ":input" behind a name, what
            goes into that submodule is read.
        classifier: name of the linear layer that makes the logits, if there is one.

    Raises:
        UnknownNameError: when there is no submodule of that name.
    """

    def __init__(
        self, model: nn.Module, taps: Sequence[str] = (), classifier: str | None = None
    ) -> None:
        modules = dict(model.named_modules())
        places = [tap.removesuffix(BEFORE) for tap in taps]
        for place in places:
            if place not in modules:
                raise unknown_name("tap", place, [name for name in modules if name])
        self.model = model
        self.taps, self.classifier_name = tuple(taps), classifier
        self._tapped = [modules[place] for place in places]
        self._works_in_place = any(getattr(module, "inplace", False) for module in modules.values())
        layer = modules[classifier] if classifier is not None else None
        self.classifier = layer if isinstance(layer, nn.Linear) else None

    def __call__(self, images: Tensor) -> Signals:
        """Run the network on images (N, C, H, W) and collect what it says.

        The hooks live for this one pass, so the network can be copied and saved in between as if
        nobody had tapped it. A submodule that runs several times in it gives its last output.

        Raises:
            ModelMismatchError: when a tap gives no feature, or the network no logits.
        """
        with self.listening() as run:
            return run(images)

    @contextmanager
    def listening(self) -> Iterator[Callable[[Tensor], Signals]]:
        """The network's pass as a function, with hooks that live as long as the block."""
        outputs: dict[int, Any] = {}
        classifier_inputs: list[Tensor] = []

        def run(images: Tensor) -> Signals:
            outputs.clear()
            classifier_inputs.clear()
            logits = logits_in(self.model, self.model(images))
            features = tuple(
                self._feature(tap, outputs.get(place), len(images))
                for place, tap in enumerate(self.taps)
            )
            return Signals(logits, features, _embedding(classifier_inputs, features))

        with ExitStack() as hooks:
            for place in range(len(self.taps)):
                keep = _keep_a_copy if self._works_in_place else _keep
                hooks.callback(self.add_hook(place, partial(keep, outputs, place)).remove)
            if self.classifier is not None:
                note = partial(_note_input, classifier_inputs)
                hooks.callback(self.classifier.register_forward_pre_hook(note).remove)
            yield run

    def add_hook(self, place: int, see: See) -> RemovableHandle:
        """Show a function what passes a tap, each time it runs, until the hook is removed."""
        module = self._tapped[place]
        handle: RemovableHandle
        if self.taps[place].endswith(BEFORE):
            handle = module.register_forward_pre_hook(partial(_see_input, see))
        else:
            handle = module.register_forward_hook(partial(_see_output, see))
        return handle

    def frozen_copy(self, *, with_taps: bool) -> TappedModel:
        """A copy of the network as it is now, that does not learn any more."""
        with blamed(self.model, "being copied"):
            copy = deepcopy(self.model).eval().requires_grad_(False)
        return TappedModel(copy, self.taps if with_taps else (), self.classifier_name)

    def _feature(self, tap: str, output: Any, count: int) -> Tensor:
        feature = as_map(output) if isinstance(output, Tensor) else None
        if feature is None or len(feature) != count:
            raise ModelMismatchError(
                f"tap {tap!r} of {type(self.model).__name__} must give a feature for each image, "
                "of shape (N, C, H, W), (N, tokens, C) or (N, C), but gave "
                f"{_described(output)}; name another tap"
            )
        return feature


def _keep(outputs: dict[int, Any], place: int, passing: Any) -> None:
    outputs[place] = passing


def _keep_a_copy(outputs: dict[int, Any], place: int, passing: Any) -> None:
    """Where a later submodule works in place, as the ReLU behind a batch-norm often does, what was
    kept must outlast it."""
    outputs[place] = passing.clone() if isinstance(passing, Tensor) else passing


def _see_output(see: See, _module: nn.Module, _args: Any, output: Any) -> Any:
    return see(output)


def _see_input(see: See, _module: nn.Module, args: tuple[Any, ...]) -> Any:
    first, *others = args or (None,)
    changed = see(first)
    return None if changed is None else (changed, *others)


def _note_input(classifier_inputs: list[Tensor], _module: nn.Module, args: tuple[Any, ...]) -> None:
    classifier_inputs.clear()
    classifier_inputs.append(args[0])


def _embedding(classifier_inputs: list[Tensor], features: tuple[Tensor, ...]) -> Tensor | None:
    if classifier_inputs:
        return classifier_inputs[0].flatten(1)
    return features[-1].flatten(2).mean(2) if features else None


def find_classifier(model: nn.Module, example: Tensor) -> str | None:
    """Name of the linear layer whose output is the network's logits, or None.

    Args:
        model: the network.
        example: a batch of images, shape (N, C, H, W).
    """
    outputs: dict[str, Tensor] = {}

    def note(name: str, _module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if args and args[0].dim() == 2:
            outputs[name] = output

    linear = [
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    with ExitStack() as hooks:
        for name, module in linear:
            hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        logits = dry_pass(model, example)
    for name, output in outputs.items():
        if output.shape == logits.shape and output.data_ptr() == logits.data_ptr():
            return name or None
    return None


def dry_pass(model: nn.Module, example: Tensor) -> Tensor:
    """One pass without gradients or change of batch-norm statistics; gives the logits.

    Raises:
        ModelMismatchError: when the network gives something else.
    """
    with evaluating(model), torch.no_grad():
        return logits_in(model, model(example))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time of the block; each submodule's own mode comes back after it."""
    with keeping_modes(model):
        model.eval()
        yield


@contextmanager
def keeping_modes(model: nn.Module) -> Iterator[None]:
    """Bring each submodule's mode, training or evaluation, back after the block."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def logits_in(model: nn.Module, output: Any) -> Tensor:
    """The logits in what a network gave, which must be nothing else.

    Raises:
        ModelMismatchError: when it is.
    """
    if isinstance(output, Tensor) and output.dim() == 2:
        return output
    mode = " in training mode" if model.training else ""
    raise ModelMismatchError(
        f"{type(model).__name__} must give logits of shape (N, classes), "
        f"but gave {_described(output)}{mode}; have its forward return the logits alone"
    )


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"shape {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"{type(output).__name__} with {', '.join(map(str, output))}"
    if isinstance(output, tuple | list):
        return f"{type(output).__name__} of {len(output)}"
    return "nothing" if output is None else type(output).__name__
