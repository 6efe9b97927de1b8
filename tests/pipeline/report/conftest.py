from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.runs import RunFolder
from pipeline.steps.report import report


@pytest.fixture(scope="session")
def hostile(road, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The tiny run as if its classes, its dataset and a skipped file had names like these."""
    assert road.said.code == 0, road.said.err
    path = shutil.copytree(road.run.path, tmp_path_factory.mktemp("hostile") / "tiny")
    run = RunFolder(Path(path))
    facts = json.loads((run.data / "facts.json").read_text())
    facts["classes"][:2] = ["<b>bold</b>", "<script>console.error('broken out')</script>"]
    facts["name"] = 'folder:<img src="x" onerror="console.error(1)">'
    facts["skipped"] = ["a&b<i>.jpg"]
    (run.data / "facts.json").write_text(json.dumps(facts))
    run.note(name="<u>run</u>")
    report(run)
    return run
