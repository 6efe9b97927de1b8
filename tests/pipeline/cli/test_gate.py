"""compress gate, as a release pipeline calls it: four exit codes, five formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator

from deploy_targets.device.messages import Percentile
from deploy_targets.estimating.calibration import Range
from deploy_targets.estimating.estimate import Basis, Estimate, file_name, write_estimate
from deploy_targets.measurement import read_measurement, write_measurement
from foundation.errors import CompressError
from pipeline.commands.schemas import schemas
from pipeline.run_folder.folder import RunFolder

INT8 = "bench/local-onnx-int8@local.json"


def budget(folder: Path, text: str) -> Path:
    path = folder / "budget.toml"
    path.write_text(text)
    return path


@pytest.fixture
def figures(own: RunFolder, list_anew) -> Callable[..., None]:
    """Write other figures into the measurement of local-onnx-int8, which is valid then."""

    def write(p50: tuple[float, float, float] | None = None, suspect: str | None = None) -> None:
        one = read_measurement(own.path / INT8)
        if p50 is not None:
            value, low, high = p50
            latency = replace(
                one.latency_ms,
                percentiles={"p50": Percentile(value, low, high)},
                min=low,
                mean=value,
                max=high,
            )
            one = replace(one, latency_ms=latency)
        # Whatever the machine was like when the run was measured.
        reasons = [suspect] if suspect else []
        verdict = "suspect" if suspect else "valid"
        validity = replace(one.validity, verdict=verdict, reasons=reasons)
        write_measurement(own.path / INT8, replace(one, validity=validity))
        list_anew(own)

    return write


def test_within_the_budget_it_is_exit_code_0(own: RunFolder, compress, tmp_path: Path) -> None:
    said = compress("gate", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "PASS" in said.out


class TestHistory:
    def test_each_release_is_added_and_shown(
        self, own: RunFolder, figures: Callable[..., None], forked, tmp_path: Path
    ) -> None:
        rules = budget(tmp_path, "[limits]\nlatency_p50_ms = { max = 1000 }\n")
        for number in range(1, 8):
            value = 4.0 + 0.2 * number
            figures((value, value - 0.05, value + 0.05))
            name = f"v{number}"
            asked = ("--budget", rules, "--bundle", "local-onnx-int8", "--release", name)
            assert forked("gate", *asked, cwd=tmp_path).code == 0
        said = forked("gate", "--history", "--json", cwd=tmp_path)
        assert said.code == 0, said.err
        (series,) = said.json()["series"]
        assert [point["release"] for point in series["points"]] == [f"v{n}" for n in range(1, 8)]
        assert series["drift"]["releases"] == 7
        assert series["drift"]["change"] == pytest.approx(100 * 1.2 / 4.2)
        shown = forked("gate", "--history", cwd=tmp_path).out
        assert "drift: latency_p50_ms of local-onnx-int8 on local got worse by 28.6 %" in shown
        assert "no single limit was broken" in shown

    def test_it_may_lie_elsewhere_or_nowhere(self, own: RunFolder, forked, tmp_path: Path) -> None:
        assert forked("gate", "--history-file", "kept.jsonl", cwd=tmp_path).code == 0
        assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 1
        assert forked("gate", "--history-file", "none", cwd=tmp_path).code == 0
        assert not (own.path.parent / "history.jsonl").exists()

    def test_one_that_cannot_be_written_leaves_the_verdict(
        self, own: RunFolder, forked, tmp_path: Path
    ) -> None:
        (tmp_path / "folder").mkdir()
        said = forked("gate", "--history-file", "folder", cwd=tmp_path)
        assert said.code == 0
        assert "could not be added to the history: Is a directory" in said.err

    def test_without_one_it_is_exit_code_2(self, own: RunFolder, forked, tmp_path: Path) -> None:
        said = forked("gate", "--history", cwd=tmp_path)
        assert (said.code, "no history yet" in said.complaint) == (2, True)


def test_beyond_the_budget_it_is_exit_code_1_and_each_limit_stands_with_its_figure(
    own: RunFolder, figures, forked, tmp_path: Path
) -> None:
    figures()
    rules = budget(tmp_path, "[limits]\nsize_mb = { max = 0.2 }\nlatency_p50_ms = { max = 1e-6 }")
    said = forked("gate", "runs/tiny", "--budget", rules, "--json", cwd=tmp_path)
    assert said.code == 1, said.err
    verdict = said.json()
    Draft202012Validator(schemas()["verdict.schema.json"]).validate(verdict)
    assert verdict["verdict"] == "fail"
    assert verdict["judged"] == ["runs/tiny"]
    assert json.loads(own.verdict_path.read_text()) == verdict
    by_name = {(check["bundle"], check["metric"]): check for check in verdict["checks"]}
    assert len(by_name) == 8
    size = by_name["local-onnx-int8", "size_mb"]
    model = own.bundles / "local-onnx-int8/model.onnx"
    assert size["verdict"] == "pass"
    assert size["value"] == pytest.approx(model.stat().st_size / 1e6)
    assert by_name["local-onnx-fp32", "size_mb"]["verdict"] == "fail"
    latency = by_name["local-onnx-int8", "latency_p50_ms"]
    measured = json.loads((own.path / INT8).read_text())["latency_ms"]["percentiles"]["p50"]
    assert {key: latency[key] for key in measured} == measured
    assert latency["verdict"] == "fail"


class TestInconclusive:
    RULES = 'bundles = ["local-onnx-int8"]\n[limits]\nlatency_p50_ms = { max = 2.0 }'

    def test_is_exit_code_3_when_the_limit_lies_within_the_interval(
        self, figures, forked, tmp_path: Path
    ) -> None:
        figures(p50=(2.0, 1.9, 2.1))
        said = forked("gate", "--budget", budget(tmp_path, self.RULES), cwd=tmp_path)
        assert said.code == 3, said.err
        assert "INCONCLUSIVE" in said.out
        assert "2 lies within what is uncertain" in said.out

    def test_is_exit_code_3_when_the_measurement_is_suspect(
        self, figures, forked, tmp_path: Path
    ) -> None:
        figures(p50=(9.0, 9.0, 9.0), suspect="others took 40 % of the CPU")
        said = forked("gate", "--budget", budget(tmp_path, self.RULES), cwd=tmp_path)
        assert said.code == 3, said.err
        assert "others took 40 % of the CPU" in said.out

    def test_is_exit_code_3_when_the_sample_is_too_small(
        self, own: RunFolder, forked, tmp_path: Path
    ) -> None:
        rules = budget(tmp_path, "[limits]\nlatency_p99_ms = { max = 1e9 }")
        said = forked("gate", "--budget", rules, "--json", cwd=tmp_path)
        assert said.code == 3, said.err
        reasons = {check["reason"].partition(",")[0] for check in said.json()["checks"]}
        assert reasons == {"p99 needs 662 queries"}

    @pytest.mark.parametrize(("asked", "code"), [("pass", 0), ("fail", 1), ("report", 3)])
    def test_counts_as_it_was_asked(
        self, figures, forked, tmp_path: Path, asked: str, code: int
    ) -> None:
        figures(p50=(2.0, 1.9, 2.1))
        rules = budget(tmp_path, self.RULES)
        said = forked("gate", "--budget", rules, "--on-inconclusive", asked, cwd=tmp_path)
        assert said.code == code, said.err
        in_file = budget(tmp_path, f'on_inconclusive = "{asked}"\n{self.RULES}')
        assert forked("gate", "--budget", in_file, cwd=tmp_path).code == code

    def test_is_measured_again_and_longer_when_asked(
        self, own: RunFolder, figures, forked, tmp_path: Path
    ) -> None:
        figures(suspect="others took 40 % of the CPU")
        text = self.RULES.replace("2.0", "1e6") + "\nlatency_p90_ms = { max = 1e6 }"
        rules = budget(tmp_path, text)
        said = forked(
            "gate", "--budget", rules, "--on-inconclusive", "retry:1", "--json", cwd=tmp_path
        )
        assert "look 2: measuring local-onnx-int8 again" in said.err
        checks = {check["metric"]: check for check in said.json()["checks"]}
        assert {check["looks"] for check in checks.values()} == {2}
        after = read_measurement(own.path / INT8)
        # Thirty were asked for; a 90th percentile needs 64.
        assert after.latency_ms.n >= 64
        assert checks["latency_p90_ms"]["value"] == after.latency_ms.p90
        # The machine may have been busy again; never is that a fail.
        assert said.code in {0, 3}, said.err

    def test_is_measured_again_as_it_was_measured_before(
        self, own: RunFolder, forked, tmp_path: Path
    ) -> None:
        how = ("--scenario", "multi-stream", "--streams", 2, "--batch", 2, "--pin", 0)
        short = ("--queries", 30, "--max-seconds", 0.5)
        said = forked("bench", "--bundle", "local-onnx-int8", *how, *short, cwd=tmp_path)
        assert said.code == 0, said.err
        (path,) = own.bench.glob("local-onnx-int8@local.multi-stream*.json")
        before = read_measurement(path)
        rules = budget(tmp_path, "[limits]\nlatency_p90_ms = { max = 1e6 }")
        said = forked(
            "gate", "--bundle", "local-onnx-int8", "--budget", rules,
            "--on-inconclusive", "retry 1", cwd=tmp_path,
        )  # fmt: skip
        assert said.code in {0, 3}, said.err
        after = read_measurement(path)
        assert after.latency_ms.n >= 64 > before.latency_ms.n
        assert after.scenario == before.scenario
        assert after.runtime.pinned == before.runtime.pinned == [0]


@pytest.mark.parametrize(
    "form",
    ["markdown", "junit", "github", "json", "table"],
)
def test_each_format_tells_every_check_and_leaves_the_exit_code(
    own: RunFolder, forked, tmp_path: Path, form: str
) -> None:
    rules = budget(tmp_path, "[limits]\nsize_mb = { max = 0.2 }\ntop1_percent = { min = 1.0 }")
    said = forked("gate", "--budget", rules, "--format", form, cwd=tmp_path)
    assert said.code == 1, said.err
    if form == "json":
        assert len(said.json()["checks"]) == 8
    elif form == "junit":
        assert len(list(ET.fromstring(said.out).iter("testcase"))) == 8
    elif form == "github":
        assert said.out.count("::error title=fail%3A local-o") == 2
    else:
        assert said.out.count("top1_percent") == 4


def test_github_gets_a_summary_of_the_step_where_it_asks_for_one(
    own: RunFolder, compress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    said = compress("gate", "--format", "github", cwd=tmp_path)
    assert said.code == 0, said.err
    assert page.read_text().startswith("before\n### Gate: ✅ pass\n")


def test_a_summary_that_cannot_be_written_leaves_the_verdict(
    own: RunFolder, compress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere/summary.md"))
    said = compress("gate", "--format", "github", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "summary.md: the summary of the step could not be written" in said.err


class TestFiles:
    RULES = "[limits]\nsize_mb = { max = 5.0, max_regression = 1 }"

    def test_are_judged_without_a_run(self, own: RunFolder, forked, tmp_path: Path) -> None:
        shutil.copy(own.path / INT8, tmp_path / "new.json")
        old = json.loads((own.path / INT8).read_text())
        rules, code = budget(tmp_path, self.RULES), {}
        for size in (90_000, 100_000):
            old["bundle"]["model_bytes"] = size
            (tmp_path / "old.json").write_text(json.dumps(old))
            said = forked(
                "gate", "new.json", "--budget", rules, "--baseline", "old.json", cwd=tmp_path
            )
            code[size] = said.code
        assert code == {90_000: 1, 100_000: 0}

    def test_may_be_what_bench_printed_the_baseline_too(
        self, own: RunFolder, forked, tmp_path: Path
    ) -> None:
        printed = forked("bench", "--bundle", "local-onnx-int8", "--json", cwd=tmp_path)
        (tmp_path / "printed.json").write_text(printed.out)
        rules = budget(tmp_path, "[limits]\ntop1_percent = { max_regression = 1 }")
        asked = ("--budget", rules, "--baseline", "printed.json", "--json")
        said = forked("gate", "printed.json", *asked, cwd=tmp_path)
        (check,) = said.json()["checks"]
        assert (said.code, check["basis"], check["value"]) == (0, "same images", 0.0)
        torn = json.loads(printed.out) | {"measurements": 1}
        (tmp_path / "printed.json").write_text(json.dumps(torn))
        refused = forked("gate", "printed.json", "--budget", rules, cwd=tmp_path)
        assert refused.code == 2
        assert "printed.json: not the whole of what `--json` printed" in refused.complaint

    def test_several_and_runs_are_judged_together(
        self, own: RunFolder, forked, tmp_path: Path
    ) -> None:
        shutil.copy(own.path / INT8, tmp_path / "other.json")
        rules = budget(tmp_path, "[limits]\nsize_mb = { max = 5.0 }")
        said = forked("gate", "runs/tiny", "other.json", "--budget", rules, "--json", cwd=tmp_path)
        assert said.code == 0, said.err
        assert said.json()["judged"] == ["runs/tiny", "other.json"]
        assert len(said.json()["checks"]) == 4 + 1

    def test_that_are_estimates_are_refused_unless_allowed(
        self, own: RunFolder, forked, tmp_path: Path
    ) -> None:
        name = "local-onnx-int8"
        path = own.bench / file_name(name, "rpi4")
        estimate = Estimate(
            bundle=read_measurement(own.path / INT8).bundle, target="rpi4",
            runtime="onnxruntime", threads=4, latency_ms=Range(5.0, 2.0, 9.0),
            basis=Basis(1.0, 1, 1, 1, 1.0, 0.5, 0.0, [], None),
            made_at="2026-01-01T00:00:00+00:00",
        )  # fmt: skip
        write_estimate(path, estimate)
        rules = budget(tmp_path, "[limits]\nlatency_p50_ms = { max = 10.0 }")
        refused = forked("gate", path, "--budget", rules, cwd=tmp_path)
        assert refused.code == 2
        assert "an estimate, which was measured on nothing" in refused.complaint
        allowed = forked(
            "gate", path, "--budget", rules, "--allow-estimate", "--json", cwd=tmp_path
        )
        assert allowed.code == 0, allowed.err
        (check,) = allowed.json()["checks"]
        assert check["basis"] == "estimate"
        # Among a run's measurements it is passed over.
        whole = forked("gate", "--budget", rules, "--json", cwd=tmp_path)
        assert {check["basis"] for check in whole.json()["checks"]} == {"measured"}

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["new.json"], "give one with --budget"),
            (["new.json", "--budget", "budget.toml"], "max_regression against what?"),
            (["no.json", "--budget", "budget.toml"], "no.json: no such file"),
            (["budget.json", "--budget", "budget.toml"], "neither a measurement nor a comparison"),
            (["new.json", "--budget", "budget.toml", "--baseline", "no.json"], "no.json: no such"),
            (["new.json", "--budget", "budget.toml", "--baseline", "nope"], "nope: no such base"),
            (
                ["new.json", "--budget", "budget.toml", "--on-inconclusive", "retry 2"],
                "must be a run folder",
            ),
            (["new.json", "--budget", "budget.toml", "--on-inconclusive", "retry 9"], "3 times"),
            (["new.json", "--budget", "budget.toml", "--on-inconclusive", "often"], "must be"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_that_cannot_be_judged_are_exit_code_2(
        self, own: RunFolder, forked, tmp_path: Path, arguments, words: str
    ) -> None:
        shutil.copy(own.path / INT8, tmp_path / "new.json")
        (tmp_path / "budget.json").write_text("{}")
        budget(tmp_path, self.RULES)
        said = forked("gate", *arguments, cwd=tmp_path)
        assert said.code == 2
        assert words in said.complaint


def test_only_the_named_bundle_is_judged(own: RunFolder, forked, tmp_path: Path) -> None:
    rules = budget(tmp_path, "[limits]\nsize_mb = { max = 0.2 }")
    said = forked("gate", "--budget", rules, "--bundle", "local-onnx-int8", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "local-onnx-fp32" not in said.out


def test_a_verdict_is_said_of_the_run_used_last(own: RunFolder, forked, tmp_path: Path) -> None:
    other = tmp_path / "runs/other"
    own.path.rename(other)
    said = forked("gate", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    assert said.json()["judged"] == ["runs/other"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nlatency_p95 = { max = 1.0 }", "did you mean 'latency_p95_ms'?"),
        ("[limts]", "did you mean 'limits'?"),
        ("[limits]\nsize_mb = { max = 'big' }", "limits.size_mb.max"),
        ("[limits]\nsize_mb = { }", "needs max, min or max_regression"),
        ("[limits]\nsize_mb = { max = 1.0, against = 'teacher' }", "max_regression is counted"),
        (
            "[limits]\nspeedup_vs_teacher = { max_regression = 1.0, against = 'teacher' }",
            "already compares",
        ),
        ("[limits]\nsize_mb = { max_regression = 1.0 }", "--baseline"),
        ("", "no limits"),
        ('bundles = ["local-onnx-int9"]\n[limits]\nsize_mb = { max = 1.0 }', "'local-onnx-int8'"),
        ("[", "not valid TOML"),
    ],
)
def test_bad_input_is_exit_code_2_and_no_verdict(
    own: RunFolder, forked, tmp_path: Path, text: str, words: str
) -> None:
    before = own.verdict_path.read_bytes()
    said = forked("gate", "--budget", budget(tmp_path, text), cwd=tmp_path)
    assert said.code == 2
    assert words in said.complaint
    assert own.verdict_path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: not a run folder"),
        ([], "no run here yet"),
        (["--budget", "nope.toml"], "no run here yet"),
        (["--limit", "3"], "No such option"),
        (["--format", "xml"], "xml"),
    ],
)
def test_without_a_run_it_is_exit_code_2(forked, tmp_path: Path, arguments, words) -> None:
    said = forked("gate", *arguments, cwd=tmp_path)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err


def test_without_measurements_it_is_exit_code_2(own: RunFolder, forked, tmp_path: Path) -> None:
    for path in own.measurement_paths():
        path.unlink()
    said = forked("gate", cwd=tmp_path)
    assert said.code == 2
    assert "compress bench" in said.complaint


def test_no_kind_of_error_has_the_gates_own_codes() -> None:
    codes = {kind.exit_code for kind in CompressError.__subclasses__()}
    assert not codes & {0, 1, 3}
