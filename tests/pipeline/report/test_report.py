from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from deploy_targets.measurement import read_measurement, write_measurement
from foundation.bundle import read_manifest, write_manifest
from foundation.errors import CorruptFileError
from pipeline.exporting.choice import read_shipping, write_shipping
from pipeline.gating.gate import gate
from pipeline.report.content import gather
from pipeline.report.write import report
from pipeline.run_folder.folder import RunFolder
from pipeline.shown.measurements import ran_in

# Attributes through which a browser would fetch something by itself.
FETCHING = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


def data_of(text: str) -> dict:
    """What the page's script draws."""
    begin = text.index('id="page-data">') + len('id="page-data">')
    return json.loads(text[begin : text.index("</script>", begin)])


class Page(HTMLParser):
    """Collects what a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in FETCHING and value and not value.startswith(("#", "data:")):
                self.fetched.append(value)
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def text(road) -> str:
    return (road.run.path / "report.html").read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


@pytest.fixture(scope="module")
def summary(road) -> str:
    return (road.run.path / "report.md").read_text()


class TestThePage:
    def test_stands_alone(self, page: Page, text: str) -> None:
        assert page.fetched == []
        assert not {"iframe", "object", "embed", "base"} & set(page.tags)
        assert page.tags.count("script") == 2
        assert "default-src 'none'" in text[: text.index("<style>")]
        styles = text[text.index("<style>") : text.index("</style>")]
        loaded = re.findall(r"""(?:url\(|@import)\s*["']?(?!#|data:)([^"')\s]+)""", styles)
        assert loaded == []

    def test_would_be_caught_if_it_fetched_something(self) -> None:
        fetching = Page('<link href="https://x.org/a.css"><img src="b.png"><a href="#c">')
        assert fetching.fetched == ["https://x.org/a.css", "b.png"]

    def test_has_its_plots_inside_each_with_its_data_as_table_and_csv(self, text: str) -> None:
        data = data_of(text)
        drawn = set(re.findall(r'data-plot="([^"]+)"', text))
        assert drawn == {"front", *data["plots"]}
        assert len(drawn) >= 8
        for name in drawn:
            figure = text[text.index(f'id="plot-{name}"') :]
            figure = figure[: figure.index("</figure>")]
            link = re.search(
                r'download="[^"]+\.csv" href="data:text/csv;charset=utf-8,([^"]+)"', figure
            )
            assert link
            rows = list(csv.reader(unquote(link[1]).splitlines()))
            assert len(rows) - 1 == figure.count("<tr>") - 1 > 0
            assert len({len(row) for row in rows}) == 1

    def test_has_no_two_elements_of_one_id(self, text: str) -> None:
        body = text[: text.index('id="page-data"')]
        ids = Counter(re.findall(r'\sid="([^"]+)"', body))
        assert {name: count for name, count in ids.items() if count != 1} == {}
        assert set(re.findall(r'href="#([^"]+)"', body)) <= set(ids)

    def test_tells_the_front_as_the_measurements_have_it(self, text: str, road) -> None:
        points = {point["name"]: point["values"] for point in data_of(text)["front"]["points"]}
        for path in road.run.measurement_paths():
            one = read_measurement(path)
            p50 = one.latency_ms.percentiles["p50"]
            assert points[one.bundle.name]["latency"] == [p50.value, p50.low, p50.high]
            assert points[one.bundle.name]["accuracy"][0] == 100 * one.accuracy.top1
            assert points[one.bundle.name]["size"][0] == one.bundle.model_bytes / 1e3

    def test_names_every_bundle_and_its_figures(self, page: Page, road) -> None:
        for path in road.run.measurement_paths():
            one = read_measurement(path)
            assert one.bundle.name in page.words
            assert f"{one.latency_ms.p50:,.3f}" in page.words
            assert f"{100 * one.accuracy.top1:,.2f}" in page.words

    def test_says_the_verdict_and_every_limit(self, page: Page) -> None:
        assert re.search(r"gate: pass", page.words)
        for metric in ("size_mb", "top1_percent"):
            assert metric in page.words

    def test_tells_every_stage(self, page: Page) -> None:
        for stage in ("1 kd", "2 at", "3 rkd"):
            assert stage in page.words

    def test_tells_what_is_left_of_each_stage(self, text: str, road) -> None:
        kept = json.loads((road.run.path / "retention.json").read_text())
        assert kept["stages"] == ["1-kd", "2-at", "3-rkd"]
        figure = text[text.index("<h3>What is left of each stage</h3>") :]
        figure = figure[: figure.index("</table>")]
        for row, name in enumerate(kept["stages"]):
            assert f"loss of {name}" in figure
            assert f">{kept['loss'][row][row]:.4g}<" in figure
        assert road.run.recorded_files().keys() >= {"retention.json"}

    def test_counts_the_images_that_flipped_as_the_answers_have_it(self, text: str, road) -> None:
        head = gather(road.run).headline
        assert head is not None
        assert head.baseline is not None
        names = [head.baseline.bundle.name, head.shipped.bundle.name]
        before, after = (
            list(csv.DictReader((road.run.findings / name / "answers.csv").open()))
            for name in names
        )
        pairs = list(zip(before, after, strict=True))
        flipped = [(one, other) for one, other in pairs if one["answer"] != other["answer"]]
        lost = sum(one["answer"] == one["label"] for one, _ in flipped)
        words = (
            f"Of {len(pairs)} test images {len(flipped)} are answered otherwise: {lost} were right"
        )
        assert words in " ".join(text.split())
        shown = text[text.index(f"Images that flipped from {names[0]}") :]
        shown = shown[: shown.index("</section>")]
        assert shown.count("<li>") >= min(len(flipped), 24)

    def test_tells_where_the_figures_come_from(self, page: Page, road) -> None:
        record = road.run.record()
        for fact in (record["created_at"], record["platform"], record["versions"]["onnxruntime"]):
            assert fact in page.words

    def test_takes_names_as_words_and_not_as_html(self, hostile: RunFolder) -> None:
        page = Page((hostile.path / "report.html").read_text())
        assert not {"u", "i"} & set(page.tags)
        assert page.tags.count("script") == 2
        assert page.handlers == []
        for name in ("<b>bold</b>", "<u>run</u>", "a&b<i>.jpg", '<img src="x"'):
            assert name in page.words


class TestTheSummary:
    def test_has_a_row_for_every_bundle(self, summary: str, road) -> None:
        for folder in road.run.bundle_folders():
            assert len(re.findall(rf"^\| {folder.name} \|", summary, re.MULTILINE)) >= 1

    def test_has_tables_whose_rows_are_all_of_one_length(self, summary: str) -> None:
        tables = [block for block in summary.split("\n\n") if block.lstrip().startswith("|")]
        assert len(tables) >= 3
        for table in tables:
            rows = [line for line in table.splitlines() if line.strip()]
            assert len({row.count("|") for row in rows}) == 1, table
            assert re.fullmatch(r"[|:\- ]+", rows[1])
            assert len(rows) > 2

    def test_says_the_verdict_and_the_stages(self, summary: str) -> None:
        assert "gate pass" in summary
        for words in ("top1_percent", "| 1 kd |", "| 3 rkd |"):
            assert words in summary


def test_the_headline_is_the_fastest_student_that_keeps_the_budget(road) -> None:
    content = gather(road.run)
    students = [one for one in content.measurements if one.bundle.role == "student"]
    valid = [one for one in students if one.validity.verdict == "valid"]
    assert content.headline is not None
    fastest = min(one.latency_ms.p50 for one in valid or students)
    assert content.headline.shipped.latency_ms.p50 == fastest
    teacher = content.headline.baseline
    assert teacher is not None
    assert teacher.bundle.role == "teacher"
    speedup = content.headline.speedup
    assert speedup is not None
    assert speedup.value == pytest.approx(teacher.latency_ms.p50 / fastest)
    assert speedup.low < speedup.value < speedup.high


class TestWhatShips:
    @pytest.fixture(scope="class")
    def page(self, shipped: RunFolder) -> Page:
        return Page((shipped.path / "report.html").read_text())

    def test_is_the_chosen_bundle_with_its_reason(self, page: Page, shipped: RunFolder) -> None:
        record = read_shipping(shipped.shipping_path)
        content = gather(shipped)
        assert content.headline is not None
        assert content.headline.shipped.bundle.name == content.shipped == "local-onnx-int8"
        for text in (page.words, (shipped.path / "report.md").read_text()):
            assert record.reason in text
            assert "1.00 (0.30 to 1.70)" in text
            assert "2.00 (1.90 to 2.10)" in text

    def test_is_chosen_even_where_another_is_faster_and_keeps_the_budget(
        self, shipped: RunFolder, tmp_path: Path
    ) -> None:
        run = RunFolder(Path(shutil.copytree(shipped.path, tmp_path / "tiny")))
        record = read_shipping(run.shipping_path)
        slow = max(
            (one for one in gather(run).measurements if one.bundle.role == "student"),
            key=lambda one: one.latency_ms.p50,
        )
        write_shipping(run.shipping_path, replace(record, chosen=slow.bundle.name))
        headline = gather(run).headline
        assert headline is not None
        assert headline.shipped.bundle.name == slow.bundle.name

    def test_is_told_when_the_limit_is_not_kept(self, shipped: RunFolder, tmp_path: Path) -> None:
        run = RunFolder(Path(shutil.copytree(shipped.path, tmp_path / "tiny")))
        record = read_shipping(run.shipping_path)
        missed = replace(record, met=False, advice="another road <i>", max_drop=1.0)
        write_shipping(run.shipping_path, missed)
        html, summary, *_ = report(run)
        assert "Nothing keeps the accuracy limit of 1 point." in html.read_text()
        assert "another road &lt;i&gt;" in html.read_text()
        assert "Nothing keeps the accuracy limit of 1 point." in summary.read_text()

    def test_is_left_out_when_its_bundle_is_not_there_any_more(
        self, shipped: RunFolder, tmp_path: Path
    ) -> None:
        run = RunFolder(Path(shutil.copytree(shipped.path, tmp_path / "tiny")))
        shutil.rmtree(run.bundles / "local-onnx-int8")
        assert gather(run).shipping is None
        html, *_ = report(run)
        assert "What ships, and why" not in html.read_text()

    def test_says_for_each_bundle_how_and_why_it_was_quantised(self, page: Page) -> None:
        assert page.words.count("for the <b>kernels</b>") == 2
        for words in ("activation type", "per channel", "calibration images 256", "node_conv"):
            assert words in page.words

    def test_says_what_ran_and_how_sure_the_accuracy_is(
        self, page: Page, shipped: RunFolder
    ) -> None:
        for folder in shipped.bundle_folders():
            accuracy = read_manifest(folder).accuracy
            interval = f"({100 * accuracy['low']:.2f} to {100 * accuracy['high']:.2f})"
            assert interval in page.words
        one = read_measurement(shipped.bench / "local-onnx-int8@local.json")
        assert ran_in(one.runtime.executed_precision) in page.words

    def test_stands_in_the_waterfall(self, shipped: RunFolder) -> None:
        steps = {step.name: step for step in gather(shipped).waterfall}
        assert list(steps) == [
            "teacher", "1 kd", "2 at", "3 rkd", "student",
            "onnx fp32", "onnx int8", "openvino fp32", "openvino int8",
        ]  # fmt: skip
        int8 = steps["onnx int8"]
        assert (int8.split, int8.reached) == ("validation", pytest.approx(89.0))
        assert int8.change == pytest.approx(-1.0)
        assert int8.source is steps["onnx fp32"]
        measured = read_measurement(shipped.bench / "local-onnx-int8@local.json")
        assert int8.latency_ms == measured.latency_ms.p50
        assert int8.size_bytes == measured.bundle.model_bytes
        assert all(step.latency_ms is None for step in steps.values() if step.bundle is None)
        weights = shipped.stages / "2-at" / "weights.safetensors"
        assert steps["2 at"].size_bytes == weights.stat().st_size
        metrics = json.loads((shipped.stages / "2-at" / "metrics.json").read_text())
        assert steps["2 at"].reached == pytest.approx(100 * metrics["last"]["val_top1"])

    def test_is_marked_in_the_figure(self, shipped: RunFolder) -> None:
        data = data_of((shipped.path / "report.html").read_text())
        names = data["plots"]["waterfall"]["x"]["categories"]
        assert [name for name in names if "ships" in name] == ["onnx int8, ships"]
        assert [p["name"] for p in data["front"]["points"] if p["ships"]] == ["local-onnx-int8"]

    def test_is_shown_on_the_terminal(self, shipped: RunFolder, compress, tmp_path: Path) -> None:
        run = shutil.copytree(shipped.path, tmp_path / "tiny")
        said = compress("report", run, cwd=tmp_path)
        assert said.code == 0, said.err
        assert "ships: local-onnx-int8" in said.out
        assert "Step by step" in said.out

    def test_takes_latencies_from_the_choice_where_nothing_was_benched(
        self, shipped: RunFolder, tmp_path: Path
    ) -> None:
        run = RunFolder(Path(shutil.copytree(shipped.path, tmp_path / "tiny")))
        shutil.rmtree(run.bench)
        content = gather(run)
        steps = {step.name: step for step in content.waterfall}
        assert steps["onnx int8"].latency_ms == 2.0
        assert content.host == "local"
        assert content.headline is None
        assert content.shipped == "local-onnx-int8"
        report(run)


def test_accuracy_on_test_images_is_marked_where_none_on_validation_is_known(
    tiny_copy,
) -> None:
    run = tiny_copy("unvalidated")
    for folder in run.bundle_folders():
        manifest = read_manifest(folder)
        accuracy = {k: v for k, v in manifest.accuracy.items() if k != "validation"}
        write_manifest(folder, replace(manifest, accuracy=accuracy))
    step = next(one for one in gather(run).waterfall if one.name == "onnx fp32")
    networks = run.record()["networks"]
    assert step.split == "test"
    # Against the student on the same images, and not on those of validation.
    assert step.change == pytest.approx(step.reached - 100 * networks["student"]["test"]["top1"])
    html, summary, *_ = report(run)
    for path in (html, summary):
        assert f"{step.reached:.2f} *" in path.read_text()
    assert "* On the test images" in html.read_text()


class TestAnAdoptedNetwork:
    @pytest.fixture(scope="class")
    def page(self, adopted: RunFolder) -> Page:
        return Page((adopted.path / "report.html").read_text())

    def test_is_said_to_come_from_elsewhere(self, page: Page, adopted: RunFolder) -> None:
        for text in (page.words, (adopted.path / "report.md").read_text()):
            assert "trained elsewhere and taken over from zoo/net.onnx" in text
            assert "taught" not in text

    def test_has_no_distillation(self, page: Page) -> None:
        assert "Distillation" not in page.words
        assert "on the labels" not in page.words

    def test_is_compared_with_itself_in_fp32(self, adopted: RunFolder) -> None:
        content = gather(adopted)
        headline = content.headline
        assert headline is not None
        ours = headline.shipped.bundle
        if ours.precision == "fp32":
            assert headline.baseline is None
        else:
            assert headline.baseline is not None
            assert headline.baseline.bundle.name == f"local-{ours.format}-fp32"

    def test_has_a_waterfall_that_begins_with_itself(self, adopted: RunFolder) -> None:
        steps = gather(adopted).waterfall
        assert [step.name for step in steps[:2]] == ["student", "onnx fp32"]
        assert steps[0].source is None
        assert steps[1].source is steps[0]

    def test_needs_no_bundles_and_no_measurements(self, adopted: RunFolder, tmp_path: Path) -> None:
        run = RunFolder(Path(shutil.copytree(adopted.path, tmp_path / "tiny")))
        for folder in (run.bundles, run.bench):
            shutil.rmtree(folder)
        html, summary, *_ = report(run)
        assert "student" in html.read_text()
        assert "| student |" in summary.read_text()

    def test_shows_its_own_figures_when_fp32_ships(
        self, adopted: RunFolder, tmp_path: Path
    ) -> None:
        run = RunFolder(Path(shutil.copytree(adopted.path, tmp_path / "tiny")))
        for path in run.measurement_paths():
            if "onnx-fp32" not in path.name:
                path.unlink()
        html, *_ = report(run)
        assert "nothing to compare it with" in html.read_text()


def test_a_choice_that_cannot_be_read_is_one_line(shipped: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(shipped.path, tmp_path / "tiny")))
    run.shipping_path.write_text("{}")
    with pytest.raises(CorruptFileError, match=r"shipping\.json: not a shipping record"):
        gather(run)


def test_figures_of_an_earlier_export_are_left_out_and_said_to_be(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    name = "local-onnx-int8"
    gate(own, own.recipe().gate)
    manifest = own.bundles / name / "bundle.json"
    manifest.write_text(manifest.read_text() + "\n")
    content = gather(own)
    assert content.outdated == [name]
    assert name not in {one.bundle.name for one in content.measurements}
    assert content.verdict is None
    assert f"not measured since: {name}" in compress("report", cwd=tmp_path).out
    for page in ("report.html", "report.md"):
        assert f"not measured since: {name}." in (own.path / page).read_text()


class TestAFileThatTheRunDidNotLeaveSo:
    def test_is_said_wherever_the_report_is_and_ends_as_a_corrupt_file_does(
        self, own: RunFolder, compress, tmp_path: Path
    ) -> None:
        path = own.bench / "local-onnx-int8@local.json"
        measured = read_measurement(path)
        faster = replace(measured, launches=measured.launches + 1)
        write_measurement(path, faster)
        for page in ("report.html", "report.md"):
            (own.path / page).unlink()
        said = compress("report", cwd=tmp_path)
        line = "changed since the run made it: bench/local-onnx-int8@local.json"
        assert said.code == CorruptFileError.exit_code
        assert line in said.err
        assert f"in doubt: {line}" in said.out
        for page in ("report.html", "report.md"):
            assert line in (own.path / page).read_text()

    def test_is_one_that_was_put_there_too(self, own: RunFolder) -> None:
        path = own.bench / "local-onnx-int8@local.json"
        shutil.copy(path, own.bench / "local-onnx-int8@elsewhere.json")
        line = "not made by any step of the run: bench/local-onnx-int8@elsewhere.json"
        assert gather(own).unvouched == [line]

    def test_is_none_in_a_run_that_was_left_alone(self, own: RunFolder) -> None:
        assert gather(own).unvouched == []
