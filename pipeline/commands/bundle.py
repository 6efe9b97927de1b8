"""Bundles in the hand: is one whole and right, one file of it, a folder of such a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

from deploy_targets.device.runtimes import UNKNOWN, runtime_for
from deploy_targets.emulation import emulate
from deploy_targets.targets import Target, load_target
from export.checking.parity import ExportParity, Tolerance, check_between_batches, compare, keeps
from foundation.bundle import AnyBundle, Bundle, open_any_bundle, read_manifest
from foundation.errors import (
    CompressError,
    CorruptFileError,
    ExportError,
    HostError,
    ModelMismatchError,
    UnknownNameError,
)
from foundation.files import sha256_of
from foundation.graph_bundle import GraphBundle
from foundation.output_agreement import output_tolerance, tolerance_problems
from foundation.packing import pack, unpack
from foundation.records import as_dict
from pipeline.commands.bundle_answers import answers_of, graph_parity
from pipeline.shown.graphs import agreement_words
from pipeline.shown.outcome import Outcome, table_of

State = Literal["ok", "failed", "skipped", "not reached"]


@dataclass(frozen=True)
class VerificationCheck:
    """One thing that was looked at, and what was found."""

    what: str
    state: State
    found: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `compress bundle verify --json` prints.

    Attributes:
        bundle: what was verified.
        checks: in order; what comes after one that failed was not reached.
    """

    schema_version: int = 1
    kind: str = "verification"
    bundle: str
    passed: bool
    checks: list[VerificationCheck]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What `compress bundle pack --json` prints.

    Attributes:
        left_out: files that the bundle's manifest does not list.
    """

    schema_version: int = 1
    kind: str = "packed-bundle"
    file: str
    bytes: int
    sha256: str
    left_out: list[str]


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What `compress bundle unpack --json` prints."""

    schema_version: int = 1
    kind: str = "unpacked-bundle"
    folder: str
    bundle: str


def verify(
    path: Path, emulate: str | None = None, say: Callable[[str], None] = print
) -> tuple[Outcome, CompressError | None]:
    """Check a bundle, a folder or a packed file, from its manifest to the model's own answers.

    Args:
        path: the bundle.
        emulate: an ARM64 target as which it is to answer too; see `deploy_targets.emulation`.
        say: told what is fetched for that.

    Returns:
        The checks, and the error of the first that failed.

    Raises:
        UnknownNameError, RecipeError, MissingFileError: when there is no such target.
    """
    target = load_target(emulate) if emulate else None
    with tempfile.TemporaryDirectory(prefix="bundle-") as scratch:
        verification = _Verification(path, Path(scratch), target, say)
        checks, failed = _carried_out(verification.steps(), verification.message_of)
    content = as_dict(Verification(bundle=str(path), passed=failed is None, checks=checks))
    rows = [[check.what, check.state, check.found] for check in checks]
    table = table_of(f"Bundle {path}", ["check", "", "found"], rows)
    return Outcome(content, [table], passed=failed is None), failed


def pack_bundle(folder: Path, out: Path | None) -> Outcome:
    """Make one file of a bundle; errors as `foundation.packing.pack`."""
    packed = pack(folder, out)
    made = Packed(
        file=str(packed),
        bytes=packed.stat().st_size,
        sha256=sha256_of(packed),
        left_out=open_any_bundle(folder).extra_files(),
    )
    lines = [f"{packed}  {made.bytes:,} bytes  sha256 {made.sha256}"]
    lines += [f"left out, for bundle.json does not list it: {name}" for name in made.left_out]
    return Outcome(as_dict(made), list(map(escape, lines)))


def unpack_bundle(packed: Path, out: Path | None) -> Outcome:
    """Make a folder of a packed bundle; errors as `foundation.packing.unpack`."""
    bundle = unpack(packed, out)
    content = as_dict(Unpacked(folder=str(bundle.folder), bundle=bundle.manifest.name))
    return Outcome(content, [escape(f"{bundle.folder}  {_described(bundle)}")])


def _carried_out(
    steps: Mapping[str, Callable[[], str]], message_of: Callable[[Exception], str]
) -> tuple[list[VerificationCheck], CompressError | None]:
    """The steps one after another; what comes after one that fails cannot be trusted, nor run."""
    checks: list[VerificationCheck] = []
    failed: CompressError | None = None
    for name, step in steps.items():
        if failed:
            checks.append(VerificationCheck(name, "not reached", ""))
            continue
        try:
            checks.append(VerificationCheck(name, "ok", step()))
        except _SkippedError as reason:
            checks.append(VerificationCheck(name, "skipped", message_of(reason)))
        except CompressError as error:
            failed = type(error)(message_of(error))
            failed.__cause__ = error
            checks.append(VerificationCheck(name, "failed", message_of(error)))
    return checks, failed


class _SkippedError(Exception):
    """A check that cannot be made here, and why."""


class _Verification:
    """The steps of a bundle's verification; each returns what it found, or raises."""

    def __init__(
        self, path: Path, scratch: Path, target: Target | None, say: Callable[[str], None]
    ) -> None:
        self.path, self.target, self.say = path, target, say
        self.here: NDArray[np.float32] | None = None
        self.folder = scratch.resolve() / "bundle" if path.is_file() else path

    def steps(self) -> dict[str, Callable[[], str]]:
        steps: dict[str, Callable[[], str]] = {
            "manifest": self.manifest,
            "checksums": self.checksums,
            "other files": self.other_files,
            "probe": self.probe,
            "model": self.model,
        }
        if self.target is not None:
            steps[f"emulated {self.target.name}"] = self.emulated
        return {"packed file": self.packed_file, **steps} if self.path.is_file() else steps

    def message_of(self, error: Exception) -> str:
        """The message, with what the user named in the place of the folder it was unpacked to."""
        return str(error).replace(str(self.folder.resolve()), str(self.path))

    def packed_file(self) -> str:
        unpack(self.path, self.folder)
        return f"{self.path.stat().st_size:,} bytes, nothing in it that should not be"

    def manifest(self) -> str:
        manifest = read_manifest(self.folder)
        return f"{manifest.format} {manifest.precision} for {manifest.target}"

    def checksums(self) -> str:
        self.any_bundle = open_any_bundle(self.folder)
        return _described(self.any_bundle)

    @property
    def bundle(self) -> Bundle:
        """A classifier's."""
        if not isinstance(self.any_bundle, Bundle):
            raise _SkippedError("it is no classifier, and this is for classifiers")
        return self.any_bundle

    def other_files(self) -> str:
        extra = self.any_bundle.extra_files()
        if extra:
            raise CorruptFileError(
                f"{self.path}: {', '.join(map(repr, extra))} is not listed in bundle.json; "
                "take it away, or do not use this bundle"
            )
        return "none"

    def probe(self) -> str:
        if isinstance(self.any_bundle, GraphBundle):
            feeds, outputs = self.any_bundle.probe()
            return f"{len(feeds)} samples, {len(outputs)} outputs"
        images, logits = self.bundle.probe()
        return f"{len(images)} images, logits for {logits.shape[1]} classes"

    def model(self) -> str:
        if isinstance(self.any_bundle, GraphBundle):
            return self._graph(self.any_bundle)
        manifest = self.bundle.manifest
        try:
            runtime = runtime_for(manifest.format)
            answers = answers_of(self.bundle, runtime, str(self.path))
        except (UnknownNameError, HostError) as error:  # nothing here that could run it
            raise _SkippedError(str(error)) from error
        self.here, where = answers.alone, f"{runtime} {answers.version}"
        figures = self._held(self.here, where)
        if answers.together is not None:
            self._held(answers.together, f"{where}, asked for all images at once")
            self._held_together(answers.together)
        return figures

    def _graph(self, bundle: GraphBundle) -> str:
        """Each output of a graph that is no classifier, held to what its precision is held to."""
        try:
            runtime = runtime_for(bundle.manifest.format)
            version, parity = graph_parity(bundle, runtime, str(self.path))
        except (UnknownNameError, HostError) as error:  # nothing here that could run it
            raise _SkippedError(str(error)) from error
        figures = "; ".join(map(agreement_words, parity.outputs))
        scored = bundle.manifest.accuracy and bundle.manifest.precision != "fp32"
        limits = output_tolerance(bundle.manifest.precision)
        for output in [] if scored else parity.outputs:
            for problem in tolerance_problems(output, limits):
                raise ModelMismatchError(
                    f"{self.path}: output {output.name!r} {problem}; do not use it on this device"
                )
        return f"{figures}, {runtime} {version}"

    def _held_together(self, together: NDArray[np.float32]) -> None:
        """However many are asked at once, an image's answer is the same."""
        assert self.here is not None
        try:
            alike = {"one by one": self.here, "together": together}
            check_between_batches(alike, self.bundle.manifest.precision, str(self.path))
        except ExportError as error:
            raise ModelMismatchError(str(error)) from error

    def emulated(self) -> str:
        """As an ARM64 device: held to the same tolerance; how near to this machine is told too."""
        assert self.target is not None
        answer = emulate(self.bundle, self.target, self.say)
        told = answer.executed_precision
        ran_in = "" if told == UNKNOWN else f" in {told}"
        where = f"{answer.runtime}{ran_in} on {answer.processor}"
        figures = self._held(answer.logits, where)
        if self.here is None:
            return figures
        apart = compare(self.here, answer.logits).relative_error
        return f"{figures}; {f'{apart:.1e} from its' if apart else 'bit for bit its'} answers here"

    def _held(self, logits: NDArray[np.float32], where: str) -> str:
        """How logits agree with the original's, if they do as well as the manifest says."""
        parity = compare(self.bundle.probe()[1], logits)
        figures = f"{_figures(parity)}, {where}"
        tolerance = self.bundle.manifest.parity.get("tolerance")
        if tolerance is None:
            return f"{figures}; no tolerance is recorded"
        _hold(parity, _tolerance(tolerance, self.path), f"{self.path}: {figures}")
        return figures


def _described(bundle: AnyBundle) -> str:
    return f"{len(bundle.manifest.files)} files, model of {bundle.model_bytes:,} bytes"


def _figures(parity: ExportParity) -> str:
    return (
        f"same class for {parity.top1_agreement:.0%} of {parity.n} images, "
        f"logits {parity.relative_error:.1e} apart"
    )


def _tolerance(recorded: Any, path: Path) -> Tolerance:
    """What the manifest says that the model was held to; a limit of None is none."""
    try:
        limits = {name: float(limit) for name, limit in recorded.items() if limit is not None}
        return Tolerance(**{"relative_error": float("inf"), "top1_agreement": 0.0, **limits})
    except (AttributeError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{path}: the recorded tolerance {recorded!r} is none; export the bundle again"
        ) from error


def _hold(parity: ExportParity, limits: Tolerance, figures: str) -> None:
    if not keeps(parity, limits):
        raise ModelMismatchError(
            f"{figures}, {parity.signal_to_noise_db:.1f} dB; it was held to {limits.words}: do not "
            "use it on this device"
        )
