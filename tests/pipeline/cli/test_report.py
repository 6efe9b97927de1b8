from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from pipeline.run_folder.folder import RunFolder


def test_the_report_is_written_from_what_lies_in_the_folder(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    pages = [own.path / "report.html", own.path / "report.md"]
    for page in pages:
        page.unlink()
    said = compress("report", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    plots = [own.path / "report-front.png", own.path / "report-waterfall.png"]
    assert [tmp_path / path for path in said.json()["written"]] == [*pages, *plots]
    for plot in plots:
        assert Image.open(plot).format == "PNG"
        assert f"]({plot.name})" in pages[1].read_text()
    assert all(page.stat().st_size > 500 for page in pages)


def test_a_run_that_was_only_distilled_still_gets_its_report(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    for folder in (own.bundles, own.bench):
        shutil.rmtree(folder)
    for name in ("gate.json", "report.html", "report.md"):
        (own.path / name).unlink()
    said = compress("report", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "report.html" in said.out
    page = (own.path / "report.html").read_text()
    assert 'data-plot="accuracy-by-epoch"' in page
    assert "nothing measured yet" in page
    assert "3 rkd" in page
    assert "| 3 rkd |" in (own.path / "report.md").read_text()


def test_plots_are_not_drawn_again_of_the_same_figures(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    compress("report", cwd=tmp_path)
    plot = own.path / "report-front.png"
    before = plot.stat().st_mtime_ns
    compress("report", cwd=tmp_path)
    assert plot.stat().st_mtime_ns == before
    plot.write_bytes(b"no picture")
    compress("report", cwd=tmp_path)
    assert Image.open(plot).format == "PNG"


class TestSeveralRuns:
    @pytest.fixture
    def two(self, own: RunFolder) -> list[Path]:
        other = Path(shutil.copytree(own.path, own.path.with_name("other")))
        recipe = other / "recipe.toml"
        recipe.write_text(recipe.read_text().replace("seed = 0", "seed = 7", 1))
        RunFolder(other).note(name="other")
        shutil.rmtree(other / "bench")
        return [own.path, other]

    def test_stand_side_by_side_with_what_differs_first(
        self, two: list[Path], compress, tmp_path: Path
    ) -> None:
        said = compress("report", *two, "--json", cwd=tmp_path)
        assert said.code == 0, said.err
        told = said.json()
        assert told["runs"] == [str(path) for path in two]
        page, summary = (Path(path) for path in told["written"])
        assert page.parent == two[0].parent
        text = page.read_text()
        differing = text[text.index('id="recipes"') : text.index('id="alike"')]
        assert '<th scope="row">seed</th><td>0</td><td>7</td>' in differing
        assert '<th scope="row">data.name</th>' not in differing
        assert text.index("What came out differently") < text.index("What is alike")
        assert "| seed | 0 | 7 |" in summary.read_text()

    def test_go_where_they_are_sent(self, two: list[Path], compress, tmp_path: Path) -> None:
        said = compress("report", *two, "--out", tmp_path / "both", "--json", cwd=tmp_path)
        assert said.code == 0, said.err
        assert (tmp_path / "both/report.html").is_file()
        assert not (two[0].parent / "report.html").exists()

    def test_one_that_is_not_there_is_one_line(
        self, two: list[Path], compress, tmp_path: Path
    ) -> None:
        said = compress("report", two[0], tmp_path / "gone", cwd=tmp_path)
        assert said.code == 10
        assert "gone" in said.complaint


class TestServing:
    @pytest.fixture
    def address(self, own: RunFolder, tmp_path: Path):
        command = [sys.executable, "-m", "pipeline", "report", own.path, "--serve"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        line = next(line for line in lines if "http://" in line)
        yield next(word for word in line.split() if word.startswith("http://"))
        process.kill()
        process.wait()

    def test_gives_the_page_to_this_machine_and_nothing_else(
        self, own: RunFolder, address: str
    ) -> None:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.read() == (own.path / "report.html").read_bytes()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}run.json", timeout=60)
        foreign = urllib.request.Request(address, headers={"Host": "elsewhere.example:80"})
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(foreign, timeout=60)

    def test_a_port_that_is_taken_is_one_line(
        self, own: RunFolder, compress, tmp_path: Path
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = compress("report", "--serve", "--port", port, cwd=tmp_path)
        assert said.code == 9
        assert f"port {port}" in said.complaint
