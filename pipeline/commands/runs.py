"""`compress runs`: what lies under runs/, one run whole, several side by side, tags, removal.

Nothing here imports torch or opens an image.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from deploy_targets.measurement import read_measurement
from foundation.errors import CompressError, CorruptFileError, MissingFileError, UsageError
from foundation.files import LOCK, read_json
from foundation.records import as_dict
from pipeline.exporting.choice import read_shipping
from pipeline.gating.evidence import is_current
from pipeline.gating.verdict import read_verdict
from pipeline.recipe.file import recipe_values
from pipeline.run_folder.folder import DEFAULT_ROOT, RunFolder, open_run
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.words import number, safe

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_STUDY = "study.json"
# What lies in the folder of a run or a study; whatever else is there is somebody's own.
_OURS = {
    "recipe.toml", "run.json", "data", "teacher", "alone", "stages", "student.safetensors",
    "student.onnx", "bundles", "findings", "retention.json", "scores", "shipping.json",
    "comparison.json", "bench", "trials", "logs", "report.html", "report.md", "report-front.png",
    "report-waterfall.png", "gate.json", "teachers", "arms", _STUDY, LOCK,
}  # fmt: skip


@dataclass(frozen=True)
class RunListed:
    """A run or a study, as far as it has come.

    Attributes:
        kind: "run" or "study".
        created_at: of a run; ISO 8601, UTC.
        tags: given by `compress runs tag`.
        data: the dataset's name.
        teacher, student: models.
        teacher_top1, student_top1: on the test images, shares of 0..1; of a study the means of its
            teachers and of the recipe's own arm.
        bundles: how many were exported.
        ships: the bundle that was chosen to ship.
        verdict: the gate's.
        bytes: on disk, of all files.
        problem: why no more is known of it.
    """

    path: str
    kind: str
    name: str
    created_at: str | None = None
    tags: list[str] | None = None
    data: str | None = None
    teacher: str | None = None
    student: str | None = None
    teacher_top1: float | None = None
    student_top1: float | None = None
    bundles: int = 0
    ships: str | None = None
    verdict: str | None = None
    bytes: int = 0
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunsShown:
    """What `compress runs --json` prints."""

    schema_version: int = 1
    kind: str = "runs"
    root: str
    runs: list[RunListed]


@dataclass(frozen=True)
class FactCompared:
    """One fact of several runs.

    Attributes:
        fact: what it is.
        values: of each run, in order; null where a run has none.
        differs: whether they are not all the same.
    """

    fact: str
    values: list[Any]
    differs: bool


@dataclass(frozen=True, kw_only=True)
class RunsCompared:
    """What `compress runs compare --json` prints.

    Attributes:
        runs: their folders.
        facts: those that differ first; figures before the recipe's keys.
    """

    schema_version: int = 1
    kind: str = "runs-compared"
    runs: list[str]
    facts: list[FactCompared]


def list_runs(root: Path | None, tag: str | None) -> Outcome:
    """All runs and studies in a folder, the one that was made last at the end.

    Args:
        root: where they lie; None takes runs/.
        tag: only those that have it.

    Raises:
        MissingFileError: when there is no such folder.
    """
    root = root or DEFAULT_ROOT
    if not root.is_dir():
        raise MissingFileError(
            f"{root}/: no such folder; make a run with `compress run digits`, or name a folder "
            "that holds runs"
        )
    listed = [run for run in _found_in(root) if tag is None or tag in (run.tags or [])]
    heads = ["run", "made", "data", "teacher → student", "test top-1 %", "ships", "gate", "MB", ""]
    table = table_of(safe(f"Runs in {root}"), heads, [_row(run) for run in listed])
    notes = [] if listed else [f"none{'' if tag is None else f' with tag {tag}'} here"]
    return Outcome(as_dict(RunsShown(root=str(root), runs=listed)), [table, *notes])


def show_run(path: Path | None) -> Outcome:
    """One run: what it is, what each step left, and what its report says.

    Args:
        path: its folder; None takes the one used last.
    """
    from pipeline.report.content import gather  # noqa: PLC0415
    from pipeline.report.terminal import shown_of  # noqa: PLC0415

    run = open_run(path)
    listed = _run_listed(run)
    facts = [
        ["folder", listed.path],
        ["made", f"{listed.created_at}, of commit {run.record()['commit'] or 'unknown'}"],
        ["tags", ", ".join(listed.tags or []) or "–"],
        ["data", listed.data or "–"],
        ["teacher → student", _pair(listed)],
        ["stages", " → ".join(stage.name for stage in run.recipe().stages)],
        ["MB on disk", number(listed.bytes / 1e6, 1)],
    ]
    steps = [
        [
            name,
            done.get("finished_at", "–"),
            number(done.get("seconds"), 1),
            str(len(done["products"])),
        ]
        for name, done in run.record()["steps"].items()
    ]
    shown: list[RenderableType] = [
        table_of(safe(listed.name), ["", ""], facts),
        table_of("Steps", ["step", "done at", "s", "files"], steps),
    ]
    if listed.student is not None:
        with run.locked(to_read=True):
            shown += shown_of(gather(run))
    return Outcome(as_dict(RunsShown(root=str(run.path.parent), runs=[listed])), shown)


def compare_runs(paths: Sequence[Path], *, everything: bool) -> Outcome:
    """Several runs side by side.

    Args:
        paths: their folders.
        everything: show a person also what is the same in all.

    Raises:
        UsageError: when there is one alone.
    """
    if len(paths) == 1:
        raise UsageError(f"{paths[0]}: with which other run is it to be compared? name it too")
    runs = [open_run(path) for path in paths]
    facts = [dict(_facts_of(run)) for run in runs]
    names = list(dict.fromkeys(name for known in facts for name in known))
    compared = [
        FactCompared(name, values, any(value != values[0] for value in values))
        for name in names
        for values in [[known.get(name) for known in facts]]
    ]
    compared.sort(key=lambda fact: not fact.differs)  # and otherwise as they came
    rows = [
        [fact.fact, *map(_words, fact.values)] for fact in compared if fact.differs or everything
    ]
    same = sum(not fact.differs for fact in compared)
    table = table_of("Side by side", ["", *(safe(str(run.path)) for run in runs)], rows)
    note = "" if everything else f"{same} more are the same in all: --all shows them"
    content = RunsCompared(runs=[str(run.path) for run in runs], facts=compared)
    return Outcome(as_dict(content), [table, *filter(None, [note])])


def tag_run(path: Path, tags: Sequence[str], *, remove: bool) -> Outcome:
    """Give a run tags, or take them from it.

    Raises:
        UsageError: when one is no word.
    """
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise UsageError(
                f"tag {tag[:80]!r}: write a word of letters, digits and . _ + -, up to 64 of them"
            )
    run = open_run(path)
    with run.locked():
        before = run.record().get("tags", [])
        kept = [tag for tag in before if tag not in tags]
        run.note(tags=kept if remove else [*kept, *dict.fromkeys(tags)])
    listed = _run_listed(run)
    line = safe(f"{run.path}: {', '.join(listed.tags or []) or 'no tags'}")
    return Outcome(as_dict(RunsShown(root=str(run.path.parent), runs=[listed])), [line])


def removable(path: Path) -> RunListed:
    """What would be removed with a folder.

    Raises:
        MissingFileError: when no run and no study lies there.
        UsageError: when it is a link, or holds something that no command made.
    """
    if not (path / "run.json").is_file() and not (path / _STUDY).is_file():
        raise MissingFileError(f"{path}: no run and no study lies here; `compress runs` lists them")
    if path.is_symlink():
        raise UsageError(f"{path}: a link; name the folder itself")
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS)
    if foreign:
        raise UsageError(
            f"{path}: holds what no command made: {', '.join(foreign[:3])}"
            f"{' and more' if len(foreign) > 3 else ''}; take it elsewhere first"
        )
    return _listed(path)


def remove_run(run: RunListed) -> Outcome:
    """Delete a run or a study with all that is in it; see `removable`.

    Raises:
        BusyError: when another process is at work in it.
    """
    folder = RunFolder(Path(run.path))
    with folder.locked():
        # The lock goes last, so that nobody begins in what is half gone.
        for entry in sorted(folder.path.iterdir()):
            if entry.name != LOCK:
                shutil.rmtree(entry) if _is_folder(entry) else entry.unlink()
    shutil.rmtree(folder.path)
    line = safe(f"removed: {run.path}, {run.bytes / 1e6:,.1f} MB")
    return Outcome(as_dict(RunsShown(root=str(folder.path.parent), runs=[run])), [line])


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _found_in(root: Path) -> list[RunListed]:
    folders = [
        path
        for path in root.iterdir()
        if (path / "run.json").is_file() or (path / _STUDY).is_file()
    ]
    return sorted(map(_listed, folders), key=lambda run: (run.created_at or "", run.path))


def _listed(path: Path) -> RunListed:
    """What is known of a folder; one that cannot be read is listed all the same."""
    is_run = (path / "run.json").is_file()
    try:
        return _run_listed(RunFolder(path)) if is_run else _study(path)
    except (CompressError, OSError) as error:
        kind = "run" if is_run else "study"
        return RunListed(str(path), kind, path.name, bytes=_size(path), problem=str(error))


def _run_listed(run: RunFolder) -> RunListed:
    record, recipe = run.record(), run.recipe()
    networks = record.get("networks", {})
    return RunListed(
        path=str(run.path),
        kind="run",
        name=record["name"],
        created_at=record["created_at"],
        tags=record.get("tags", []),
        data=recipe.data.name,
        teacher=networks.get("teacher", {}).get("model"),
        student=networks.get("student", {}).get("model"),
        teacher_top1=_top1(networks, "teacher"),
        student_top1=_top1(networks, "student"),
        bundles=len(run.bundle_folders()),
        ships=read_shipping(run.shipping_path).chosen if run.shipping_path.exists() else None,
        verdict=read_verdict(run.verdict_path).verdict if run.verdict_path.exists() else None,
        bytes=_size(run.path),
    )


def _study(path: Path) -> RunListed:
    try:
        return _study_listed(path, read_json(path / _STUDY))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CorruptFileError(
            f"{path / _STUDY}: not the findings of a study; run the study again"
        ) from error


def _study_listed(path: Path, record: Any) -> RunListed:
    teachers = [worth["test"] for worth in record["teachers"].values()]
    planned = record["planned"][0]["arm"] if record["planned"] else None
    return RunListed(
        path=str(path),
        kind="study",
        name=record["name"],
        data=record["data"]["name"],
        teacher=record["networks"]["teacher"]["model"],
        student=record["networks"]["student"]["model"],
        teacher_top1=sum(teachers) / len(teachers) if teachers else None,
        student_top1=record["arms"][planned]["test"]["mean"] if planned else None,
        bytes=_size(path),
    )


def _top1(networks: Mapping[str, Any], role: str) -> float | None:
    top1: float | None = (networks.get(role, {}).get("test") or {}).get("top1")
    return top1


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def _row(run: RunListed) -> list[str]:
    tags = "".join(f" [{tag}]" for tag in run.tags or [])
    return [
        Path(run.path).name + tags,
        (run.created_at or "–")[:16].replace("T", " "),
        run.data or "–",
        _pair(run),
        _percents(run),
        run.ships or (f"{run.bundles} bundles" if run.bundles else "–"),
        run.verdict or "–",
        number(run.bytes / 1e6, 1),
        run.problem or ("a study" if run.kind == "study" else ""),
    ]


def _pair(run: RunListed) -> str:
    return f"{run.teacher or '–'} → {run.student or '–'}"


def _percents(run: RunListed) -> str:
    shares = (run.teacher_top1, run.student_top1)
    return " → ".join(number(None if share is None else 100 * share, 2) for share in shares)


def _facts_of(run: RunFolder) -> Iterator[tuple[str, Any]]:
    """What a run is and came to: figures first, then its recipe, key by key, and versions."""
    record = run.record()
    for role, network in record.get("networks", {}).items():
        yield f"{role}: model", network["model"]
        yield f"{role}: parameters", network["parameters"]
        for part in ("validation", "test"):
            if network.get(part):
                yield f"{role}: {part} top-1 %", round(100 * network[part]["top1"], 2)
    for path in run.measurement_paths():
        measured = read_measurement(path)
        if not is_current(run, measured.bundle):
            continue
        name = f"{measured.bundle.name} @ {measured.host.name}"
        yield f"{name}: p50 ms", measured.latency_ms.p50
        yield f"{name}: MB", round(measured.bundle.model_bytes / 1e6, 3)
        if measured.accuracy is not None:
            yield f"{name}: top-1 %", round(100 * measured.accuracy.top1, 2)
    if run.verdict_path.exists():
        yield "gate", read_verdict(run.verdict_path).verdict
    if run.shipping_path.exists():
        yield "ships", read_shipping(run.shipping_path).chosen
    yield from _flat(recipe_values(run.recipe()), "")
    yield "commit", record["commit"]
    for name, version in record["versions"].items():
        yield f"version of {name}", version


def _flat(values: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{place}.{key}" if place else key)
    elif isinstance(values, list) and any(isinstance(value, Mapping | list) for value in values):
        for place_in_list, value in enumerate(values):
            yield from _flat(value, f"{place}.{place_in_list}")
    else:
        yield place, values


def _words(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
