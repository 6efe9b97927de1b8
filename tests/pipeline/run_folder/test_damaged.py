"""A run folder's JSON files, damaged in every way: each ends in one of our errors, or is read."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy_targets.measurement import read_measurement
from foundation.errors import CompressError, CorruptFileError
from foundation.files import write_json
from pipeline.data.facts import read_images
from pipeline.exporting.choice import Shipping, ShippingCandidate, Speedup, choose, write_shipping
from pipeline.gating.gate import gate
from pipeline.recipe.sections.gate import GateRecipe, Limit
from pipeline.report.content import gather
from pipeline.report.render import render_html, render_markdown
from pipeline.report.terminal import shown_of
from pipeline.run_folder.folder import RunFolder
from pipeline.study.folder import ArmResult, read_result, write_result

BUDGET = GateRecipe(
    limits={
        "size_mb": Limit(max=5.0),
        "latency_p50_ms": Limit(max=50.0),
        "drop_vs_teacher_points": Limit(max=90.0),
        "speedup_vs_teacher": Limit(min=0.01),
    }
)

GONE = object()
VALUES = (
    GONE, None, True, -1, -1.5, 0, 10**400, 1e308, "", "nan", "a|<b>$c$\x1b[31m", [], [[]], {},
)  # fmt: skip

# Whole readings, of which each takes a tenth of a second; and of those, with all plots drawn.
SAMPLED, DRAWN = 36, 2

Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def run(road, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The tiny run, with a choice of what ships and a verdict."""
    assert road.said.code == 0, road.said.err
    folder = tmp_path_factory.mktemp("damaged") / "tiny"
    whole = RunFolder(Path(shutil.copytree(road.run.path, folder)))
    measured = [read_measurement(path).bundle for path in whole.measurement_paths()]
    candidates = [
        ShippingCandidate(
            bundle=one.name, format=one.format, precision=one.precision, validation_top1=0.5,
            drop=0.0, drop_low=0.0, drop_high=0.0, model_bytes=one.model_bytes, p50_ms=1.0,
            ratio=None if one.precision == "fp32" else Speedup(2.0, 1.9, 2.1), executed="int8",
            meets_limit=True,
        )
        for one in measured
        if one.role == "student"
    ]  # fmt: skip
    write_shipping(
        whole.shipping_path,
        Shipping(
            target="local", max_drop=1.5, **choose(candidates, 1.5)._asdict(),
            measured_on="local", candidates=candidates, trials=3, seconds=9.0,
        ),
    )  # fmt: skip
    gate(whole, BUDGET)
    return whole


def places(node: Any, place: Place = ()) -> Iterator[Place]:
    """Every place in a JSON value, the whole first; of a list's items the first."""
    yield place
    items = node.items() if isinstance(node, dict) else []
    for key, value in [*items, *(enumerate(node[:1]) if isinstance(node, list) else [])]:
        yield from places(value, (*place, key))


def damaged(content: Any, place: Place, value: object) -> Any:
    """The content with another value at a place, or with nothing there."""
    if not place:
        return None if value is GONE else value
    changed = node = copy.deepcopy(content)
    for key in place[:-1]:
        node = node[key]
    if value is GONE:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return changed


def read_all(run: RunFolder, *, drawn: bool) -> None:
    content = gather(run)
    render_markdown(content)
    shown_of(content)
    if drawn:
        render_html(content)


def test_whatever_is_damaged_nothing_ends_in_a_traceback(run: RunFolder) -> None:
    choose_from = random.Random(0)
    kinds = [
        [run.record_path], [run.data / "facts.json"], [run.verdict_path], [run.shipping_path],
        [*run.path.glob("*/metrics.json"), *run.stages.glob("*/metrics.json")],
        run.measurement_paths(), [*run.bundles.glob("*/bundle.json")],
    ]  # fmt: skip
    for number in range(SAMPLED):
        path = choose_from.choice(kinds[number % len(kinds)])
        whole = path.read_bytes()
        content = json.loads(whole)
        place, value = choose_from.choice([*places(content)]), choose_from.choice(VALUES)
        path.write_text(json.dumps(damaged(content, place, value)))
        try:
            read_all(run, drawn=number < DRAWN)
            gate(run, BUDGET)
        except CompressError as error:
            assert str(run.path) in str(error), (place, value)
        except Exception as error:
            raise AssertionError(f"{path.name}, {place}, {value!r}") from error
        finally:
            path.write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("run.json", ("networks", "student", "test", "n"), 0),
        ("run.json", ("networks", "teacher", "validation", "top1"), 1.5),
        ("run.json", ("steps", "teacher"), []),
        ("run.json", ("steps", "data", "products"), {"data/facts.json": "short"}),
        ("run.json", ("versions",), None),
        ("data/facts.json", ("counts",), {}),
        ("data/facts.json", ("counts", "train"), -1),
        ("data/facts.json", ("classes",), []),
        ("data/facts.json", ("preprocessing", "std"), [0.0]),
        ("data/facts.json", (), []),
        ("teacher/metrics.json", ("history",), []),
        ("teacher/metrics.json", ("last", "val_top1"), -0.1),
        ("stages/1-kd/metrics.json", ("history", 0, "losses"), None),
        ("stages/1-kd/metrics.json", ("stage",), GONE),
        ("gate.json", ("checks",), []),
        ("gate.json", ("checks", 0, "low"), 1e9),
        ("gate.json", ("verdict",), "fail"),
        ("shipping.json", ("candidates",), []),
        ("shipping.json", ("candidates", 0, "model_bytes"), -1),
        ("shipping.json", ("chosen",), "ghost"),
        ("bundles/local-onnx-int8/bundle.json", ("accuracy", "top1"), "good"),
        ("bundles/local-onnx-int8/bundle.json", ("accuracy", "low"), None),
        ("bundles/local-onnx-int8/bundle.json", ("parity",), {"relative_error": "small"}),
        ("bundles/local-onnx-int8/bundle.json", ("format_facts", "quantization"), []),
    ],
)
def test_what_cannot_be_is_named_with_its_file(
    run: RunFolder, name: str, place: Place, value: object
) -> None:
    path = run.path / name
    whole = path.read_bytes()
    try:
        path.write_text(json.dumps(damaged(json.loads(whole), place, value)))
        with pytest.raises(CorruptFileError) as caught:
            gather(run)
    finally:
        path.write_bytes(whole)
    assert str(caught.value).startswith(f"{path}: not ")
    assert "; " in str(caught.value)  # what to do


def test_a_file_of_images_that_is_spoilt_is_named(run: RunFolder, tmp_path: Path) -> None:
    whole = (run.data / "test.npz").read_bytes()
    path = tmp_path / "test.npz"
    rng = random.Random(0)
    for _ in range(25):
        spoilt = bytearray(whole)
        spoilt[rng.randrange(len(spoilt))] ^= rng.randrange(1, 256)
        path.write_bytes(spoilt[: rng.randrange(len(spoilt))] if rng.random() < 0.3 else spoilt)
        try:
            read_images(path)
        except CorruptFileError as error:
            assert str(error).startswith(f"{path}: not a file of images (")
    for images, labels in (
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.float32)),
    ):
        np.savez(path, images=images, labels=labels)
        with pytest.raises(CorruptFileError, match=r"test\.npz: not a file of images"):
            read_images(path)


RESULT = ArmResult(
    fingerprint="f", arm="kd", seed=0, validation_top1=0.5, test_top1=0.5,
    history=[{"epoch": 1, "losses": {"loss": 1.0}, "val_top1": 0.5, "seconds": 0.1}],
    after_stage=[0.5], seconds_per_epoch=0.1,
    retention={"stages": ["1-kd"], "loss": [[0.5]], "top1": [0.5]},
)  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("test_top1",), 1.5), (("test_top1",), GONE), (("history",), []), (("seed",), -1),
        (("history", 0, "losses"), []), (("seconds_per_epoch",), 0), (("more",), 1),
        (("retention", "loss"), [[0.5, 0.5]]), (("retention",), []), (("after_stage",), None),
    ],
)  # fmt: skip
def test_an_arms_result_that_cannot_be_is_named(tmp_path: Path, place: Place, value) -> None:
    write_result(tmp_path, RESULT)
    assert read_result(tmp_path, "f") == RESULT
    assert read_result(tmp_path, "another") is None
    write_json(tmp_path / "result.json", damaged(asdict(RESULT), place, value))
    with pytest.raises(CorruptFileError, match=r"result\.json: not the result of an arm"):
        read_result(tmp_path, "f")
