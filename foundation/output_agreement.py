"""How far a graph's outputs are from the original's, output by output: for export, verification,
devices and the gate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foundation.sense import at_least, shares

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CEILING_DB = 200.0  # no error at all; JSON has no infinity
_LEAST = 2.0**-149  # below it, above zero, float32 has no number


@dataclass(frozen=True)
class OutputAgreement:
    """How one output agrees with the original's on the same samples.

    Of floating numbers there are the errors, of whole ones and booleans the share that is equal.

    Attributes:
        name: of the output.
        n: number of samples.
        same_shape: share of them, 0..1, whose output has the original's shape; errors are of those.
        max_abs_error: largest difference of any number.
        relative_error: the same, as a share of the spread of the original's numbers, from the least
            to the greatest.
        signal_to_noise_db: power of what the original's numbers tell of the samples over the
            error's power, in decibels, -200..200. Told is what differs between the samples; where
            nothing does, what differs within them.
        cosine: of the two as vectors, -1..1.
        equal: share of whole numbers that are equal, 0..1; those of another shape are not.
    """

    name: str
    n: int
    same_shape: float
    max_abs_error: float | None = None
    relative_error: float | None = None
    signal_to_noise_db: float | None = None
    cosine: float | None = None
    equal: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)
        yield from at_least(0, max_abs_error=self.max_abs_error, relative_error=self.relative_error)
        yield from shares(same_shape=self.same_shape, equal=self.equal)


@dataclass(frozen=True)
class OutputTolerance:
    """What every output is allowed: at most this error, at least the others; None is no limit."""

    relative_error: float
    equal: float
    signal_to_noise_db: float | None = None
    same_shape: float = 1.0


OUTPUT_TOLERANCES = {
    # Of floats as of classifiers' logits (`export.checking.parity` has the reasons): rounding in
    # another order, weights of 11 significant bits, all numbers of 8, and steps that no single
    # number can be held to, where 6 dB find what is broken and a scorer says what it costs.
    # Whole numbers are chosen by floats (a class by its score), so that one in a hundred may fall
    # to the other of two that are as good, and more of them in lower precision.
    "fp32": OutputTolerance(relative_error=1e-4, equal=0.99),
    "fp16": OutputTolerance(relative_error=3e-2, equal=0.98),
    "bf16": OutputTolerance(relative_error=1e-1, equal=0.95, signal_to_noise_db=20.0),
    "int8": OutputTolerance(relative_error=math.inf, equal=0.8, signal_to_noise_db=6.0),
}


def output_tolerance(precision: str) -> OutputTolerance:
    """What a precision is held to; one that a new format brings, to that of INT8."""
    return OUTPUT_TOLERANCES.get(precision, OUTPUT_TOLERANCES["int8"])


def output_agreement(
    name: str, reference: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]
) -> OutputAgreement:
    """Measure the agreement of one output, in double precision.

    Args:
        name: of the output.
        reference: the original's array for each sample, at least one.
        outputs: the other model's, for the same samples.

    Raises:
        ValueError: when a number is not finite where the original's is, or the reverse.
    """
    import numpy as np  # noqa: PLC0415

    pairs = list(zip(reference, outputs, strict=True))
    same = [(first, second) for first, second in pairs if first.shape == second.shape]
    shape_share = len(same) / len(pairs)
    if reference[0].dtype.kind != "f":
        return OutputAgreement(name, len(pairs), shape_share, equal=_equal_share(pairs))
    if not same:
        return OutputAgreement(name, len(pairs), shape_share)
    firsts = [first.astype(np.float64) for first, _ in same]
    seconds = [second.astype(np.float64) for _, second in same]
    _check_finite(name, firsts, seconds)
    whole, other = _finite(firsts), _finite(seconds)
    error = other - whole
    largest = float(np.abs(error).max(initial=0.0))
    return OutputAgreement(
        name,
        len(pairs),
        shape_share,
        max_abs_error=largest,
        relative_error=largest / _spread(whole),
        signal_to_noise_db=_decibels(_told(firsts), float(np.square(error).sum())),
        cosine=_cosine(whole, other),
    )


def tolerance_problems(agreement: OutputAgreement, limits: OutputTolerance) -> Iterator[str]:
    """Where an output does not keep a tolerance, in words that follow its name."""
    # Written so that a figure that is not a number keeps nothing.
    if not agreement.same_shape >= limits.same_shape:
        yield (
            f"has another shape than the original's for {1 - agreement.same_shape:.0%} of "
            f"{agreement.n} samples"
        )
        return
    if agreement.equal is not None:
        if not agreement.equal >= limits.equal:
            yield (
                f"has {agreement.equal:.1%} of the original's whole numbers, at least "
                f"{limits.equal:.0%} are needed"
            )
        return
    decibels, relative = agreement.signal_to_noise_db, agreement.relative_error
    assert decibels is not None and relative is not None, "it has the original's shape"
    least = limits.signal_to_noise_db
    if least is not None and not decibels >= least:
        yield (
            f"tells {decibels:.1f} dB of the original's over its error, at least {least:g} dB are "
            "needed"
        )
    elif not relative <= limits.relative_error:
        yield (
            f"differs by {relative:.1e} of the original's spread, allowed are "
            f"{limits.relative_error:.0e}"
        )


def _equal_share(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """Share of equal numbers; an output without any counts as one number."""
    import numpy as np  # noqa: PLC0415

    equal, total = 0, 0
    for first, second in pairs:
        total += max(first.size, 1)
        if first.shape == second.shape:
            equal += int((first == second).sum()) if first.size else 1
    return equal / total if total else float(np.nan)


def _check_finite(
    name: str, firsts: Sequence[NDArray[np.float64]], seconds: Sequence[NDArray[np.float64]]
) -> None:
    import numpy as np  # noqa: PLC0415

    for first, second in zip(firsts, seconds, strict=True):
        special = ~np.isfinite(first) | ~np.isfinite(second)
        if not np.array_equal(first[special], second[special], equal_nan=True):
            raise ValueError(
                f"output {name!r} has infinite or undefined numbers where the original's are others"
            )


def _finite(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """All finite numbers of several arrays, in one row."""
    import numpy as np  # noqa: PLC0415

    row: NDArray[np.float64] = np.concatenate([array.ravel() for array in arrays])
    return row[np.isfinite(row)]


def _spread(values: NDArray[np.float64]) -> float:
    """From the least to the greatest; of a single value its size."""
    if not values.size:
        return _LEAST
    spread = float(values.max() - values.min())
    return max(spread if spread > 0 else float(abs(values[0])), _LEAST)


def _told(arrays: Sequence[NDArray[np.float64]]) -> float:
    """Power of what differs between samples; where nothing does, or their shapes do, within all
    of them; of a single number, of itself."""
    import numpy as np  # noqa: PLC0415

    if len(arrays) > 1 and len({array.shape for array in arrays}) == 1:
        stacked = np.stack(arrays)
        stacked = np.where(np.isfinite(stacked), stacked, 0.0)
        # Around the mean of so few samples, its own share in that mean is missing.
        power = float(np.square(stacked - stacked.mean(axis=0)).sum())
        if power > 0:
            return power * len(arrays) / (len(arrays) - 1)
    whole = _finite(arrays)
    if not whole.size:
        return 0.0
    power = float(np.square(whole - whole.mean()).sum())
    return power if power > 0 else float(np.square(whole).sum())


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return _CEILING_DB
    if signal == 0.0:
        return -_CEILING_DB
    return max(-_CEILING_DB, min(_CEILING_DB, 10 * math.log10(signal / noise)))


def _cosine(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    import numpy as np  # noqa: PLC0415

    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    if norms == 0.0:
        return 1.0 if np.array_equal(first, second) else 0.0
    return max(-1.0, min(1.0, float(first @ second) / norms))
