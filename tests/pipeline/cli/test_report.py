from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.run_folder.folder import RunFolder


def test_the_report_is_written_from_what_lies_in_the_folder(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    pages = [own.path / "report.html", own.path / "report.md"]
    for page in pages:
        page.unlink()
    said = compress("report", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    assert [tmp_path / path for path in said.json()["written"]] == pages
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
    assert "<svg" in page
    assert "3 rkd" in page
    assert "| 3 rkd |" in (own.path / "report.md").read_text()
