"""Inference runtimes. A new one is a new file here: a class, registered under its name.

Making an instance imports the runtime's library, so each costs nothing until it is
used, and one process uses one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from deploy_targets.device.messages import ExecutedPrecision
from deploy_targets.device.options import RuntimeOptions
from foundation.errors import HostError, ModelMismatchError, UsageError, unknown_name
from foundation.registry import Registry

if TYPE_CHECKING:
    from deploy_targets.device.operator_times import NotedTimes, Untold
    from foundation.bundle import AnyBundle
    from foundation.graph_bundle import Feed

UNKNOWN = "unknown"
"""The summary of what a runtime says nothing of."""

_LONGEST = 300


@dataclass(frozen=True)
class Model:
    """A model to load, and how.

    Attributes:
        path: the file to open; others of the same model lie beside it.
        input_name, output_name: names in its graph.
        threads: how many the runtime may use.
        precision_hint: "f32", "f16", "bf16", or "auto" for what the runtime thinks is fastest.
        streams: inferences at once, that share the threads.
        batch: images that it will mostly be given at once.
        options: as they were asked for; what threads and hint came to stands above.
        example: of a graph that is no classifier, an array for every input, by name; it then takes
            such arrays by name, and gives a list.
        output_names: of such a graph, all outputs, in the order in which they are given.
    """

    path: Path
    input_name: str
    output_name: str
    threads: int
    precision_hint: str
    streams: int = 1
    batch: int = 1
    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    example: Feed | None = None
    output_names: tuple[str, ...] = ()


Run: TypeAlias = "Callable[[Any], Any]"
"""One query: images (N, ...) to logits (N, classes); or of a graph that is no classifier, arrays by
the names of its inputs to a list of arrays, one an output."""


class Profiler(Protocol):
    """A model in a session of its own, which notes how long each of its operators takes.

    Noting takes time too: nothing that it runs is a latency of the model.
    """

    def run(self, batch: Any) -> Any:
        """What it answers to a query; see `Run`."""
        ...

    def begin(self, warmup_n: int) -> None:
        """What ran until now does not count: the first runs plan, compile and pack weights.

        Args:
            warmup_n: how many runs that were, one at least.
        """
        ...

    def operator_times(self, taken_ns: Sequence[int]) -> NotedTimes:
        """What was noted since it began; nothing is run after that.

        Args:
            taken_ns: nanoseconds of each run since, from outside. A runtime that tells of each run
                counts the `calm_half`; one that tells means alone counts all.
        """
        ...


class Session(Protocol):
    """A model that is loaded and can be run.

    Attributes:
        provider: the part of the runtime that computes.
    """

    @property
    def provider(self) -> str: ...

    def lanes(self) -> list[Run]:
        """As many ways to run it as there are streams, which may be used at once."""
        ...

    def run(self, batch: Any) -> Any:
        """What it answers to a query; see `Run`."""
        ...

    def executed_precision(self) -> ExecutedPrecision:
        """The number formats that the runtime really uses, read back from it."""
        ...

    def profiler(self) -> Profiler | Untold:
        """The model once more, in a session that the runtime itself profiles; or why it cannot."""
        ...


class Runtime(Protocol):
    """An inference runtime; making one imports its library, or raises ImportError.

    Attributes:
        format: the export format that it takes.
        package: what to install to have it.
        sample: files of a model to try it with, the one to open first: from x to y, a convolution
            of a padded 2×2 image with a 3×3 kernel of ones.
        version: of the library.
    """

    format: ClassVar[str]
    package: ClassVar[str]
    sample: ClassVar[Mapping[str, bytes]]
    version: str

    def __init__(self) -> None: ...

    def load(self, model: Model) -> Session:
        """Load a model, without running it."""
        ...


RUNTIMES: Registry[type[Runtime]] = Registry("runtime", __name__)


def runtime_for(export_format: str, requested: str | None = None) -> str:
    """Name of the runtime that takes an export format: the first that does, or the one asked for.

    Raises:
        UnknownNameError: when none does, or there is none of that name.
        UsageError: when the one asked for takes another format.
    """
    by_format: dict[str, str] = {}
    for name, runtime in RUNTIMES.items():
        by_format.setdefault(runtime.format, name)
    if export_format not in by_format:
        raise unknown_name("export format", export_format, by_format)
    if requested is None:
        return by_format[export_format]
    if RUNTIMES.get(requested).format != export_format:
        raise UsageError(
            f"runtime {requested!r} takes models of format {RUNTIMES.get(requested).format}, but "
            f"this one is {export_format}; ask for {by_format[export_format]!r}"
        )
    return requested


def installed_by_hand(name: str) -> str:
    """Why a runtime is not brought to a device, as its `by_hand` says; empty where it is."""
    return str(getattr(RUNTIMES.get(name), "by_hand", ""))


def extended_by(name: str) -> str:
    """The package that a runtime's own is an extension of, as its `extends` says, or nothing."""
    return str(getattr(RUNTIMES.get(name), "extends", ""))


def open_runtime(name: str) -> Runtime:
    """Import a runtime's library.

    Raises:
        HostError: when it is not installed here.
    """
    runtime = RUNTIMES.get(name)
    try:
        return runtime()
    except ImportError as error:
        raise HostError(
            f"runtime {name!r} cannot be imported on this host ({one_line(error)}); "
            f"install it there with `pip install {runtime.package}`"
        ) from error


def check_version(bundle: AnyBundle, name: str, version: str) -> None:
    """Make sure that a runtime is one of the releases that a bundle was made for.

    Raises:
        HostError: when it is another.
    """
    required = bundle.manifest.runtime
    is_it = RUNTIMES.get(required.name).package == RUNTIMES.get(name).package
    if is_it and not required.allows(version):
        raise HostError(
            f"{bundle.folder}: is for {required}, but this host has {version}; install one of "
            "these there, or export for a target that allows it"
        )


def load_session(runtime: Runtime, model: Model) -> Session:
    """Load a model and run nothing yet.

    Raises:
        ModelMismatchError: when the runtime refuses it.
    """
    try:
        return runtime.load(model)
    # Each runtime has exceptions of its own, with nothing in common but this.
    except Exception as error:
        raise ModelMismatchError(
            f"{model.path}: {runtime.package} {runtime.version} cannot load it "
            f"({one_line(error)}); export it for a runtime that can"
        ) from error


def summarise_precision(formats: Iterable[str]) -> ExecutedPrecision:
    """Count the formats of the compute operators, each "f32", "bf16", "f16", "u8", "i8", ...

    The summary is the format of most of them, with both 8-bit ones called "int8".
    """
    operators = Counter(formats)
    families: Counter[str] = Counter()
    for name, count in operators.items():
        families["int8" if name in {"u8", "i8"} else name] += count
    summary = families.most_common(1)[0][0] if families else UNKNOWN
    return ExecutedPrecision(summary=summary, operators=dict(operators))


def one_line(error: BaseException) -> str:
    """An exception's message on one line, cut where it goes on for too long, or its kind."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
