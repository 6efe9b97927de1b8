from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.recipe.file import RecipeFile, load_recipe
from pipeline.study.arms import Arm, all_arms
from pipeline.study.findings import Findings, best_trials, gather
from pipeline.study.folder import ArmResult, StudyFolder
from pipeline.study.render import (
    columns,
    findings_table,
    planned_columns,
    planned_rows,
    planned_table,
    render_html,
    render_markdown,
    rows,
)
from pipeline.study.subject import subject_in, teacher_in
from smskd.stage import Stage

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""


def result_of(arm: Arm, seed: int, test_top1: float) -> ArmResult:
    """A result with figures that are easily followed."""
    staged = len(arm.stages) > 1
    history = [
        {"epoch": epoch, "stage": 1, "losses": {"loss": 1.0}, "val_top1": 0.4 + 0.1 * epoch,
         "seconds": 2.0 if staged else 1.0}
        for epoch in (1, 2)
    ]  # fmt: skip
    retention = {"stages": ["1-kd", "2-at"], "loss": [[2.0, 3.0], [None, 1.0]], "top1": [0.5, 0.6]}
    return ArmResult(
        fingerprint="",
        arm=arm.name,
        seed=seed,
        validation_top1=0.6,
        test_top1=test_top1,
        history=history,
        after_stage=[0.5, 0.6] if staged else [0.6],
        seconds_per_epoch=2.0 if staged else 1.0,
        # Of the others nobody told: two epochs of a second.
        seconds=6.0 if staged else None,
        retention=retention if staged else None,
    )


@pytest.fixture(scope="module")
def findings(study) -> Findings:
    """Results by hand for three arms, over the facts of the tiny study."""
    file = RecipeFile(load_recipe(study.path / "recipe.toml").recipe)
    arms = {n: a for n, a in all_arms(file).items() if n in ("alone", "kd", "smskd-tcp")}
    tests = {"alone": (0.5, 0.5), "kd": (0.6, 0.7), "smskd-tcp": (0.62, 0.74)}
    results = [
        result_of(arms[name], seed, top1) for name in arms for seed, top1 in enumerate(tests[name])
    ]
    return gathered(study, file, arms, results)


def gathered(study, file: RecipeFile, arms: dict[str, Arm], results: list[ArmResult]) -> Findings:
    """What results come to that the teachers of the tiny study might have taught."""
    folder = StudyFolder(study.path, study.path / "teachers")
    teachers = {seed: teacher_in(folder, seed) for seed in (0, 1)}
    return gather(file, subject_in(folder, file.recipe, 0), arms, results, teachers)


def test_the_table_has_means_deviations_differences_p_and_time(findings: Findings) -> None:
    assert columns(findings)[3] == "against kd"
    # smskd-tcp − kd: 2 and 4 points, so t = 3 and p = 1 − (2/π)·atan 3 = 0.205
    assert rows(findings) == [
        ["alone", "60.00 ± 0.00", "50.00 ± 0.00", "−15.00", "0.205", "–", "1.00", "1.00"],
        ["kd", "60.00 ± 0.00", "65.00 ± 7.07", "–", "–", "+15.00", "1.00", "1.00"],
        ["smskd-tcp", "60.00 ± 0.00", "68.00 ± 8.49", "+3.00", "0.205", "+18.00", "2.00", "3.00"],
    ]
    assert findings_table(findings).row_count == 3


def test_the_table_says_how_many_seeds_where_some_arms_have_fewer(study) -> None:
    file = RecipeFile(load_recipe(study.path / "recipe.toml").recipe)
    arms = {n: a for n, a in all_arms(file).items() if n in ("alone", "kd")}
    results = [
        result_of(arms[name], seed, 0.5) for name, seed in [("alone", 0), ("kd", 0), ("kd", 1)]
    ]
    found = gathered(study, file, arms, results)
    assert columns(found)[1] == "seeds"
    assert [row[:3] for row in rows(found)] == [
        ["alone", "1", "60.00"], ["kd", "2", "60.00 ± 0.00"],
    ]  # fmt: skip


def test_the_planned_comparisons_have_a_table_of_their_own(findings: Findings) -> None:
    """2 and 4 points, so mean 3, deviation √2: d_z = 2.12, t = 3; 95 % is ± 12.706 · 1."""
    assert planned_columns(findings)[0] == "smskd-tcp against"
    assert planned_rows(findings) == [
        ["kd (best-single)", "+3.00 (−9.71 to +15.71)", "0.205", "0.205", "2.12", "2"]
    ]
    (comparison,) = findings.record().planned
    assert comparison["p_holm"] == comparison["p"] == pytest.approx(0.2048, abs=1e-4)
    assert (comparison["arm"], comparison["against"]) == ("smskd-tcp", "kd")
    for shown in (render_html(findings), render_markdown(findings)):
        assert "kd (best-single)" in shown
        assert "+3.00 (−9.71 to +15.71)" in shown
    table = planned_table(findings)
    assert table is not None
    assert table.row_count == 1


def test_without_planned_comparisons_there_is_no_such_table(findings: Findings) -> None:
    without = replace(findings, planned=[])
    assert planned_table(without) is None
    for shown in (render_html(without), render_markdown(without)):
        assert "d_z" not in shown


def test_one_seed_has_neither_deviation_nor_p(findings: Findings) -> None:
    ours = list(findings.arms)
    single = [replace(one.test, sd=None) for one in ours]
    assert (
        "±"
        not in rows(
            replace(findings, arms=[replace(o, test=s) for o, s in zip(ours, single, strict=True)])
        )[1][2]
    )


def test_the_page_stands_alone_and_says_under_what_conditions(findings: Findings) -> None:
    page = render_html(findings)
    assert not re.search(r"""<script|<link[^>]+href="(?!data:)|src=|url\((?!#)|@import""", page)
    assert page.count("<svg") == 4
    counts = findings.data.counts
    for words in ("resnet8", "digits", "8×8", str(counts["student_train"]), "2 epochs", "0, 1"):
        assert words in page
    for row in rows(findings):
        assert all(f"<td>{cell}</td>" in page for cell in row)


def test_no_two_elements_have_one_id_where_plots_refer_to_it(findings: Findings) -> None:
    page = render_html(findings)
    referred = set(re.findall(r"""(?:href="#|url\(#)([^")]+)""", page))
    ids = Counter(re.findall(r'\sid="([^"]+)"', page))
    assert referred
    assert {name: ids[name] for name in referred if ids[name] != 1} == {}


def test_the_plots_tell_what_is_left_and_what_was_added(findings: Findings) -> None:
    page = render_html(findings)
    for words in ("×1.50", ">+10.0<", "50.0 %"):
        assert words in page


def test_names_and_failures_are_words_and_not_html(findings: Findings) -> None:
    hostile = replace(
        findings,
        data=replace(findings.data, name="folder:<b>x</b>"),
        failures=["kd, seed 0: <script>console.error(1)</script>"],
    )
    page = render_html(hostile)
    assert "<b>x" not in page
    assert "<script" not in page
    assert "kd, seed 0: &lt;script" in page


def test_the_summary_is_two_tables_of_even_rows(findings: Findings) -> None:
    paragraphs = render_markdown(findings).split("\n\n")
    tables = [text.splitlines() for text in paragraphs if text.startswith("|")]
    assert [len(table) for table in tables] == [2 + len(findings.arms), 2 + len(findings.planned)]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_arms_without_stages_need_no_retention_and_no_waterfall(findings: Findings) -> None:
    page = render_html(replace(findings, arms=findings.arms[:2]))
    assert page.count("<svg") == 2
    assert "What each stage added" not in page


@pytest.mark.skipif(not BROWSER, reason="neither chromium nor google-chrome is on PATH")
def test_a_browser_shows_the_page_without_a_word_on_the_console(study, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    looked = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1100,3200", f"--screenshot={picture}",
            (study.path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert looked.returncode == 0, looked.stderr
    assert [line for line in looked.stderr.splitlines() if "CONSOLE" in line] == []
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 50


def trial(name: str, seed: int, validation: float) -> ArmResult:
    arm = Arm(name, name, (Stage("kd", epochs=2),), "kd")
    return replace(result_of(arm, seed, 0.9), validation_top1=validation)


def test_of_several_tries_the_one_that_is_best_on_the_validation_images_is_the_arm() -> None:
    arms = {name: Arm(name, name, (), "kd") for name in ("kd-cosine", "kd-linear", "kd-step")}
    arms["at"] = Arm("at", "at", ())
    by_arm = {
        "at": [trial("at", 0, 0.5)],
        "kd-cosine": [trial("kd-cosine", 0, 0.6), trial("kd-cosine", 1, 0.7)],
        "kd-linear": [trial("kd-linear", 0, 0.7), trial("kd-linear", 1, 0.7)],
        "kd-step": [trial("kd-step", 0, 0.9)],  # a seed alone says too little
    }
    chosen = best_trials(arms, by_arm)
    assert chosen["at"] == ("at", {})
    best, tried = chosen["kd"]
    assert best == "kd-linear"
    assert tried == pytest.approx({"kd-cosine": 0.65, "kd-linear": 0.7})


def test_the_table_has_a_try_under_the_name_of_its_arm(study) -> None:
    overrides = {"study.baseline_schedules": ["cosine", "linear"]}
    file = load_recipe(study.path / "recipe.toml", overrides)
    arms = {n: a for n, a in all_arms(file).items() if n in ("kd-cosine", "kd-linear", "smskd-tcp")}
    results = [result_of(arm, seed, 0.5 + 0.1 * seed) for arm in arms.values() for seed in (0, 1)]
    results = [replace(r, validation_top1=0.7) if r.arm == "kd-linear" else r for r in results]
    shown = gathered(study, file, arms, results)
    assert [found.arm.name for found in shown.arms] == ["kd", "smskd-tcp"]
    assert "schedule linear: best of 2 on the validation images" in shown.arms[0].arm.words
    assert shown.record().arms["kd"]["tried"] == pytest.approx({"kd-cosine": 0.6, "kd-linear": 0.7})
    assert shown.arms[1].against_baseline is not None


def test_with_two_budgets_the_table_says_how_many_epochs_an_arm_has(study) -> None:
    # What the study wrote down has one schedule.
    changes = {"study.budget": "per-stage", "stages.1.schedule": "cosine"}
    file = load_recipe(study.path / "recipe.toml", changes)
    every = all_arms(file)
    arms = {name: every[name] for name in ("kd", "kd-one-stage", "smskd-tcp")}
    results = [result_of(arm, seed, 0.5 + 0.1 * seed) for arm in arms.values() for seed in (0, 1)]
    shown = gathered(study, file, arms, results)
    assert columns(shown)[:2] == ["arm", "epochs"]
    assert [row[:2] for row in rows(shown)] == [
        ["kd", "2"], ["kd-one-stage", "1"], ["smskd-tcp", "2"],
    ]  # fmt: skip
    for text in (render_markdown(shown), render_html(shown)):
        assert "Each stage has a full schedule of its own" in text
        assert "Every arm has" not in text
    record = shown.record()
    assert (record.budget_epochs, record.arms["kd-one-stage"]["epochs"]) == (2, 1)
