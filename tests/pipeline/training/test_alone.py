"""The student that is trained alone on the labels, beside the one that is distilled."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foundation.files import sha256_of
from pipeline.recipe.file import load_recipe
from pipeline.report.content import gather
from pipeline.report.render import render_html, render_markdown
from pipeline.report.terminal import headline_lines
from pipeline.run_folder.folder import RunFolder
from pipeline.study.arms import all_arms
from pipeline.training.one_schedule import alone_stage
from smskd.objective import spelled_out

COMPRESS = Path(sys.executable).with_name("compress")
PATIENCE_S = 200


@pytest.fixture(scope="module")
def beside(road, forked, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, object]:
    """The tiny run, to which a student alone was added, and what the command said."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(road.recipe.parent, folder, dirs_exist_ok=True)
    run = RunFolder(folder / "runs/tiny")
    said = forked("distill", "tiny.toml", "--train-alone", "--json", cwd=folder)
    assert said.code == 0, said.err
    return run, said.json()


def test_it_is_added_to_a_run_that_is_there_and_nothing_else_is_trained(road, beside) -> None:
    run, printed = beside
    before, after = road.run.record()["steps"], run.record()["steps"]
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"alone"}
    assert set(after["alone"]["products"]) == {
        "alone/weights.safetensors", "alone/metrics.json", "scores/alone.json",
    }  # fmt: skip
    networks = run.record()["networks"]
    assert printed["networks"] == networks
    assert networks["student"] == road.run.record()["networks"]["student"]
    alone, student = networks["alone"], networks["student"]
    for key in ("model", "parameters", "macs"):
        assert alone[key] == student[key]
    for part in ("validation", "test"):
        assert alone[part]["n"] == student[part]["n"]


def test_it_has_the_epochs_of_all_stages(beside) -> None:
    run, _ = beside
    history = json.loads((run.alone / "metrics.json").read_text())["history"]
    assert len(history) == sum(stage.epochs for stage in run.recipe().stages) == 3
    worth = run.record()["networks"]["alone"]["validation"]
    assert history[-1]["val_top1"] == worth["top1"]


def test_asked_again_nothing_is_trained(beside, forked) -> None:
    run, _ = beside
    before = run.record()["steps"]
    said = forked("distill", "tiny.toml", "--train-alone", cwd=run.path.parent.parent)
    assert said.code == 0, said.err
    assert run.record()["steps"] == before
    assert "student alone" in said.out


def test_it_is_the_arm_of_a_study() -> None:
    file = load_recipe(None, {"stages.0.schedule": "constant"})
    stage = alone_stage(file.recipe.stages)
    epochs = sum(one.epochs for one in file.recipe.stages)
    assert (stage.epochs, stage.methods, stage.ce_weight) == (epochs, (), 1.0)
    assert stage.schedule == "cosine"  # one that does not fall would lose by that
    assert all_arms(file)["alone"].stages == (spelled_out(stage),)


def test_the_first_that_a_report_says_is_what_distillation_gained(beside) -> None:
    run, _ = beside
    content = gather(run)
    networks = run.record()["networks"]
    alone, distilled = (100 * networks[name]["test"]["top1"] for name in ("alone", "student"))
    assert content.gain is not None
    assert content.gain.points == pytest.approx(distilled - alone)
    shares = f"{alone:.2f} → {distilled:.2f} %"
    html, summary = render_html(content), render_markdown(content)
    first_page = html[: html.index("Step by step")]
    assert "gained by distillation" in first_page and shares in first_page
    sentence = f"for 3 epochs, reaches {alone:.2f} % test top-1; distilled it reaches"
    assert sentence in " ".join(first_page.split()) and sentence in summary
    assert any(shares in line for line in headline_lines(content))


def test_the_first_stage_is_held_against_it_in_the_waterfall(beside) -> None:
    steps = gather(beside[0]).waterfall
    assert [step.name for step in steps][:4] == ["teacher", "alone", "1 kd", "2 at"]
    teacher, alone, first, second = steps[:4]
    assert (alone.source, first.source, second.source) == (teacher, alone, first)
    assert alone.size_bytes == first.size_bytes


def test_a_run_without_one_says_nothing_of_it(road) -> None:
    content = gather(road.run)
    assert content.gain is None and content.alone_training is None
    assert "trained alone" not in render_markdown(content)


def test_a_student_that_is_pruned_on_the_way_is_no_match(tiny: str, forked, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny)
    pruned = ("--set", "stages.1.prune=0.3")
    said = forked("distill", "tiny.toml", "--train-alone", *pruned, cwd=tmp_path)
    assert said.code == 11
    assert "student.train_alone compares two of one size" in said.complaint


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_with_the_same_weights(
    own: RunFolder, doomed: dict[str, str], forked, tmp_path: Path
) -> None:
    asked = ("distill", "tiny.toml", "--train-alone")
    other = Path(shutil.copytree(tmp_path, tmp_path.with_name("whole")))
    said = forked(*asked, cwd=other)
    assert said.code == 0, said.err
    whole = RunFolder(other / "runs/tiny")
    with subprocess.Popen(
        [COMPRESS, *asked], cwd=tmp_path, env=doomed, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not list(own.alone.glob("resume.*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert "alone" not in own.record()["steps"]
    said = forked(*asked, cwd=tmp_path)
    assert said.code == 0, said.err
    names = [run.alone / "weights.safetensors" for run in (own, whole)]
    assert sha256_of(names[0]) == sha256_of(names[1])
