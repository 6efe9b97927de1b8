"""Weights as other programs write them: found in their checkpoints, and fitted to a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, WeightsMismatchError
from smskd.checkpoints.torch_files import Inert
from smskd.checkpoints.weight_sets import COUNTER, Reading, Readings, equal, sharing

_SHOWN = 3
_GROUPS_SHOWN = 8

_ACCURACIES = (
    "acc", "acc1", "top1", "prec1", "accuracy", "val_acc", "val_acc1", "val_top1", "val_accuracy",
    "test_acc", "test_acc1", "test_top1", "test_accuracy", "metric", "best_acc", "best_acc1",
    "best_top1", "best_prec1", "best_accuracy", "best_val_acc", "best_val_accuracy",
    "max_accuracy", "best_metric",
)  # fmt: skip
"""Under which keys training scripts note an accuracy; that of the epoch before that of the best."""

_MAY_BE_A_LOSS = ("metric", "best_metric")


@dataclass(frozen=True)
class Loaded:
    """What came of reading a checkpoint into a network.

    Attributes:
        remarks: what was chosen, left out or changed, a line each.
        accuracy: the accuracy that its training noted in it, by the key's name, in percent.
        architecture: the network's name that its training noted in it.
        classes: names of the classes that its training noted in it, in the order of the logits.
    """

    remarks: tuple[str, ...] = ()
    accuracy: tuple[str, float] | None = None
    architecture: str | None = None
    classes: tuple[str, ...] | None = None


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> Loaded:
    """Put weights into a network, all or nothing; see `load_checkpoint`."""
    return load_checkpoint(model, dict(tensors), source)


def load_checkpoint(model: nn.Module, content: Any, source: str, key: str | None = None) -> Loaded:
    """Put the weights in a checkpoint into a network, all or nothing.

    They may be the whole content or lie anywhere in it, beside an optimizer's state, settings and
    the like; what wrappers put before the names is taken away. Of several sets that fit, the one
    running mean of the weights (EMA, SWA) is taken. Batch-norm counters that are missing stay as
    they are; numbers are widened to the network's own type.

    Args:
        model: the network.
        content: what was read from the file.
        source: where it is from, for messages.
        key: names one of several sets: keys joined by dots, or what stands before its names.

    Raises:
        WeightsMismatchError: when names, shapes or types differ, or several sets fit.
        CorruptFileError: when there are no weights, or values that are no numbers.
    """
    expected = model.state_dict()
    readings = Readings(content, expected)
    if not readings.sets:
        raise CorruptFileError(
            f"{source}: not a state dict, for it holds no tensors by name; "
            "save `model.state_dict()` alone"
        )
    reading = _chosen(readings, source, key)
    if not reading.complete:
        raise _misfit(model, expected, reading, source)
    remarks = [
        *_choice_remarks(readings, reading, source),
        *_fill(model, expected, reading, source),
    ]
    return Loaded(
        tuple(remarks),
        recorded_accuracy(content),
        recorded_architecture(content),
        recorded_classes(content),
    )


def recorded_accuracy(content: Any) -> tuple[str, float] | None:
    """The accuracy that a training script noted beside its weights, in percent; or None."""
    notes = dict(_notes(content))
    percents = ((key, _percent(key, notes[key])) for key in _ACCURACIES if key in notes)
    return next(((key, percent) for key, percent in percents if percent is not None), None)


def recorded_architecture(content: Any) -> str | None:
    """The network's name that a training script noted beside its weights; or None."""
    notes = dict(_notes(content))
    args = notes.get("args")
    settings = args.state if isinstance(args, Inert) else args
    inner = settings if isinstance(settings, Mapping) else {}
    noted = (notes.get("arch"), inner.get("arch"), inner.get("model"))
    return next((name for name in noted if isinstance(name, str) and name), None)


def recorded_classes(content: Any) -> tuple[str, ...] | None:
    """The classes that a training script noted beside its weights, in order; or None."""
    notes = dict(_notes(content))
    places = notes.get("class_to_idx")
    if isinstance(places, Mapping) and all(isinstance(place, int) for place in places.values()):
        return tuple(map(str, sorted(places, key=lambda name: places[name])))
    for key in ("classes", "class_names", "idx_to_class", "names"):
        names = notes.get(key)
        if isinstance(names, Mapping) and all(isinstance(place, int) for place in names):
            names = [names[place] for place in sorted(names)]
        if isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names):
            return tuple(names)
    return None


def _notes(content: Any) -> Iterator[tuple[str, Any]]:
    """What a checkpoint holds beside tensors, by lower-case name; a Lightning monitor's too."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if isinstance(key, str):
            yield key.lower(), value
    callbacks = content.get("callbacks")
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        if isinstance(state, Mapping) and isinstance(state.get("monitor"), str):
            yield state["monitor"].lower(), state.get("best_model_score")


def _percent(key: str, value: Any) -> float | None:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 and value.is_floating_point() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value <= 100 or (value <= 1 and key in _MAY_BE_A_LOSS):
        return None
    return 100 * float(value) if value <= 1 else float(value)


def _chosen(readings: Readings, source: str, key: str | None) -> Reading:
    if key is not None:
        matching = readings.called(key)
        if not matching:
            names = sorted({name for reading in readings.readings for name in reading.names})
            raise WeightsMismatchError(
                f"{source}: no set of weights {key!r} in it; "
                + (f"there are {_listed(names, ', ', '')}" if names else "it has one set, unnamed")
            )
        fitting = matching
    else:
        fitting = readings.complete or [readings.nearest()]
    averaged = [reading for reading in fitting if reading.averaged]
    choice = averaged if len(averaged) == 1 else fitting
    if len(choice) > 1 and choice[0].complete:
        labels = [readings.label(reading) or "(unnamed)" for reading in fitting]
        raise WeightsMismatchError(
            f"{source}: {len(fitting)} sets of weights in it fit: {', '.join(labels)}; say which "
            "with --weights-key NAME (student.weights_key or teacher.weights_key in a recipe)"
        )
    return choice[0]


def _choice_remarks(readings: Readings, choice: Reading, source: str) -> Iterator[str]:
    """What was taken and what was not, where there was anything to choose or to leave out."""
    alternatives = [
        readings.label(alternative)
        for alternative in readings.complete
        if alternative is not choice
    ]
    misfits = [
        f"{reading.place} (it does not fit)"
        for reading in readings.readings
        if reading.averaged and not reading.complete and reading.place != choice.place
    ]
    chosen = readings.label(choice) if alternatives else choice.place
    parts = [f"took {chosen or 'the weights'}"]
    if choice.averaged and alternatives:
        parts[0] += ", the running mean"
    if choice.prefix != "":
        parts[0] += f", {choice.prefix or 'what wrappers put in'} taken away from the names"
    misfits += [f"{name} (its tensors have no names)" for name in readings.unnamed]
    not_taken = [*(name or "the others" for name in alternatives), *dict.fromkeys(misfits)]
    if not_taken:
        parts.append(f"not taken: {', '.join(not_taken)}")
    if choice.passed_over:
        parts.append(f"passed over: {_grouped(choice.passed_over)}")
    if choice.place or choice.prefix != "" or len(parts) > 1:
        yield f"{source}: {'; '.join(parts)}"


def _fill(
    model: nn.Module, expected: Mapping[str, Tensor], reading: Reading, source: str
) -> Iterator[str]:
    """Put checked tensors into a network; gives remarks on what was changed."""
    fitting = {name: expected[name] for name in expected if name.endswith(COUNTER)}
    changed: Counter[torch.dtype] = Counter()
    for name, tensor in reading.tensors.items():
        fitting[name] = _converted(name, tensor, expected[name], source)
        if tensor.is_floating_point() and tensor.dtype != expected[name].dtype:
            changed[tensor.dtype] += 1
    for names in sharing(expected):
        stored = [name for name in names if name in reading.tensors]
        if any(not equal(fitting[stored[0]], fitting[name]) for name in stored[1:]):
            raise WeightsMismatchError(
                f"{source}: {', '.join(stored)} differ there, but are one and the same in the "
                f"{type(model).__name__} here; name the architecture that the weights are of"
            )
    # Some networks look at the version of their own parts that names are of.
    state = model.state_dict()
    state.update(fitting)
    model.load_state_dict(state)
    for kind, count in changed.items():
        yield f"{source}: {count} tensors in {_kind(kind)} are taken in float32"


def _converted(name: str, tensor: Tensor, expected: Tensor, source: str) -> Tensor:
    """A tensor in the network's own type.

    Raises:
        WeightsMismatchError: when it is not of numbers that can be.
        CorruptFileError: when one of its values is no number.
    """
    trouble = _no_plain_numbers(tensor)
    if trouble is None and expected.is_floating_point() != tensor.is_floating_point():
        is_whole = tensor.is_floating_point() and bool((tensor == tensor.round()).all())
        trouble = (
            None if is_whole else f"of type {_kind(tensor.dtype)}, not {_kind(expected.dtype)}"
        )
    if trouble is not None:
        raise WeightsMismatchError(
            f"{source}: {name} is {trouble}; save the float weights of a network that is on a "
            "device, dense and not quantised"
        )
    fitting = tensor.detach().to(expected.dtype)
    # What a network itself fills with infinity, as masks are, may be so here.
    odd = ~torch.isfinite(fitting) & (fitting != expected)
    if expected.is_floating_point() and bool(odd.any()):
        lost = bool(torch.isfinite(tensor[odd]).all())
        problem = f"beyond {_kind(expected.dtype)}" if lost else "NaN or infinite"
        raise CorruptFileError(
            f"{source}: {name} holds {int(odd.sum())} values that are {problem}; "
            "take a checkpoint from before the training went wrong"
        )
    return fitting


def _no_plain_numbers(tensor: Tensor) -> str | None:
    """Why a tensor cannot be weights, whatever its values are; None where it can."""
    if tensor.is_meta:
        return "without values (on the meta device)"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_complex() or tensor.dtype == torch.bool or tensor.element_size() < 2:
        return f"of type {_kind(tensor.dtype)}"
    return None


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _misfit(
    model: nn.Module, expected: Mapping[str, Tensor], reading: Reading, source: str
) -> WeightsMismatchError:
    """Says which names and shapes differ, the first few of each kind."""
    stored = reading.tensors
    shapes = [
        f"{name} is {tuple(stored[name].shape)} there, {tuple(expected[name].shape)} here"
        for name in expected
        if name in reading.reshaped
    ]
    groups = (
        _listed(shapes, "; ", ""),
        _listed(reading.missing, ", ", "missing there: "),
        _listed(reading.unknown, ", ", "unknown here: "),
    )
    problems = "; ".join(group for group in groups if group)
    same_names = not (reading.missing or reading.unknown)
    classes = _class_counts(stored, expected, reading.reshaped) if same_names else None
    trouble = (
        f"these weights know {classes[0]} classes, the {type(model).__name__} here has {classes[1]}"
        if classes
        else f"these weights do not fit {type(model).__name__}"
    )
    at = f"{source} ({reading.place})" if reading.place else source
    error = WeightsMismatchError(
        f"{at}: {trouble}: {problems}. "
        "Name the architecture and the number of classes they were trained for"
    )
    error.known_classes = classes[0] if classes else None
    return error


def _class_counts(
    stored: Mapping[str, Tensor], expected: Mapping[str, Tensor], reshaped: Sequence[str]
) -> tuple[int, int] | None:
    """Class counts there and here, if these alone tell the tensors apart."""
    counts = {(stored[n].shape[:1], expected[n].shape[:1]) for n in reshaped}
    if len(counts) > 1 or any(stored[n].shape[1:] != expected[n].shape[1:] for n in reshaped):
        return None
    ((first, second),) = counts
    return (first[0], second[0]) if first and second else None


def _listed(problems: Sequence[str], separator: str, heading: str) -> str:
    if not problems:
        return ""
    rest = len(problems) - _SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return f"{heading}{separator.join(problems[:_SHOWN])}{more}"


def _grouped(names: Sequence[str]) -> str:
    """Names as they are where they are few; else by what they are of, with counts."""
    if len(names) <= _SHOWN:
        return ", ".join(names)
    # What all of them begin with tells nothing.
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len({*column}) == 1, columns))
    groups = Counter(_group_of(name, shared) for name in names)
    entries = [f"{group} ({count})" if count > 1 else group for group, count in groups.items()]
    more = f" and {len(entries) - _GROUPS_SHOWN} more" if len(entries) > _GROUPS_SHOWN else ""
    return ", ".join(entries[:_GROUPS_SHOWN]) + more


def _group_of(name: str, depth: int) -> str:
    parts = name.split(".")
    if parts[-1] in {"total_ops", "total_params"} and len(parts) > 1:
        return f"*.{parts[-1]}"
    return ".".join(parts[: depth + 1]) + (".*" if len(parts) > depth + 1 else "")
