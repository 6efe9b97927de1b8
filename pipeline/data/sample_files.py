"""Samples of a graph in a run's data folder: which serve for what, as plain .npz files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.bundle import TensorSpec
from foundation.errors import CorruptFileError, MissingFileError
from foundation.files import replacing, write_json
from foundation.records import as_dict, read_record
from foundation.sense import at_least

if TYPE_CHECKING:
    from export.samples import GraphSamples

SAMPLES, GRAPH = "samples.json", "graph.json"
CALIBRATION, PROBE, EVALUATION = "calibration.npz", "probe.npz", "evaluation.npz"
REFERENCE = "reference.npz"
_ANEW = "delete it and run `compress export` of the ONNX file again"
_PROBES = 16


@dataclass(frozen=True)
class SampleFacts:
    """What a run's samples are.

    Attributes:
        name: of their source, without the folders that it lies in.
        inputs: what the graph takes.
        counts: samples for calibration, probe and evaluation.
        kind: of this record.
    """

    name: str
    inputs: list[TensorSpec]
    counts: dict[str, int]
    kind: str = "samples"

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, **self.counts)


@dataclass(frozen=True)
class GraphFacts:
    """What an adopted graph gives.

    Attributes:
        outputs: in their order.
        kind: of this record.
    """

    outputs: list[TensorSpec]
    kind: str = "graph"


@dataclass(frozen=True)
class SampleParts:
    """Places of samples by what they are for; see `divided`."""

    calibration: list[int]
    probe: list[int]
    evaluation: list[int]
    remark: str | None = None


def divided(count: int, seed: int, *, calibration: int, evaluation: int | None) -> SampleParts:
    """Which samples are for what, drawn from a seed.

    None that INT8 is calibrated on is judged by; of a single one there is no choice.

    Args:
        count: number of samples, at least one.
        seed: of the draw.
        calibration: at most so many for that.
        evaluation: at most so many for the scorer; None where nobody scores.
    """
    import numpy as np  # noqa: PLC0415

    order = np.random.default_rng(seed).permutation(count).tolist()
    probes = min(_PROBES, max(1, count // 4))
    probe, rest = order[:probes], order[probes:]
    room = len(rest) if evaluation is None else (len(rest) + 1) // 2
    chosen = rest[: min(calibration, room)]
    judged = [] if evaluation is None else (probe + rest[len(chosen) :])[:evaluation]
    remark = None
    if not chosen and calibration:
        chosen = probe
        remark = "there are so few samples that INT8 is judged by those it was calibrated on"
    return SampleParts(sorted(chosen), sorted(probe), sorted(judged), remark)


def write_samples(path: Path, samples: GraphSamples) -> Path:
    """Write samples: an array by input, and their ids."""
    import numpy as np  # noqa: PLC0415

    arrays = {f"inputs/{name}": values for name, values in samples.arrays.items()}
    return write_arrays(path, {**arrays, "ids": np.asarray(samples.ids, np.str_)})


def write_arrays(path: Path, arrays: dict[str, Any]) -> Path:
    """Write arrays as .npz, whole or not at all."""
    import numpy as np  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return path


def read_samples(path: Path) -> GraphSamples:
    """Read what `write_samples` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not such a file.
    """
    from export.samples import GraphSamples  # noqa: PLC0415

    arrays = read_arrays(path)
    ids = arrays.pop("ids", None)
    inputs = {name.removeprefix("inputs/"): values for name, values in arrays.items()}
    counts = {len(values) if values.ndim else 0 for values in inputs.values()}
    if ids is None or ids.dtype.kind != "U" or counts != {len(ids)}:
        raise CorruptFileError(f"{path}: not a file of samples; {_ANEW}")
    return GraphSamples(inputs, [str(name) for name in ids])


def read_arrays(path: Path) -> dict[str, Any]:
    """Read what `write_arrays` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not such a file.
    """
    import numpy as np  # noqa: PLC0415

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: not there; {_ANEW}") from error
    # numpy and zipfile raise a dozen kinds between them for a file that is spoilt.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptFileError(f"{path}: not a file of arrays ({reason}); {_ANEW}") from error


def write_sample_facts(folder: Path, facts: SampleFacts) -> Path:
    """Write what a run's samples are into its data folder."""
    write_json(folder / SAMPLES, as_dict(facts))
    return folder / SAMPLES


def read_sample_facts(folder: Path) -> SampleFacts:
    """What a run's samples are; errors as `read_samples`."""
    return read_record(folder / SAMPLES, SampleFacts, "the facts of samples", _ANEW)


def write_graph_facts(folder: Path, facts: GraphFacts) -> Path:
    """Write what an adopted graph gives into a run's data folder."""
    write_json(folder / GRAPH, as_dict(facts))
    return folder / GRAPH


def read_graph_facts(folder: Path) -> GraphFacts:
    """What an adopted graph gives; errors as `read_samples`."""
    return read_record(folder / GRAPH, GraphFacts, "the facts of a graph", _ANEW)


def holds_graph(data: Path) -> bool:
    """Whether a run, by its data folder, is of a graph that is no classifier."""
    return (data / SAMPLES).is_file()
