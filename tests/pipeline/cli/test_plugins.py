"""A method, a weighting and a schedule from somebody else's package, as docs/method.md shows
them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs" / "method.md"


def install_what_the_docs_show(site: Path) -> None:
    """What pip would leave of such a package."""
    text = DOCS.read_text(encoding="utf-8")
    method, weighting, schedule = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shown = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (entry_points,) = [block for block in shown if "entry-points" in block]
    package, facts = site / "your_package", site / "your_package-1.0.dist-info"
    package.mkdir(parents=True)
    facts.mkdir()
    (package / "__init__.py").touch()
    (package / "cosine.py").write_text(method, encoding="utf-8")
    (package / "weightings.py").write_text(weighting, encoding="utf-8")
    (package / "schedules.py").write_text(schedule, encoding="utf-8")
    entry_points += '[project.entry-points."smskd.curve"]\nroot = "your_package.schedules"\n'
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: your-package\nVersion: 1.0\n")
    groups = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", entry_points).replace('"', "")
    (facts / "entry_points.txt").write_text(groups)


@pytest.mark.slow
def test_methods_weightings_and_schedules_of_another_package_are_known_and_train(
    compress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install_what_the_docs_show(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    shown = compress("methods", "cosine", cwd=tmp_path)
    assert "Cosine distance of the logits." in shown.out
    small = ("data.image_size=8", "student.model=resnet8", "teacher.model=resnet8")
    trained = compress(
        *("distill", "--stages", "cosine,kd", "--epochs", "1", "--teacher-epochs", "1"),
        *(word for setting in small for word in ("--set", setting)),
        *("--set", "stages.0.schedule=root", "--set", "stages.1.weighting=squared-tcp"),
        cwd=tmp_path,
    )
    assert trained.code == 0, trained.err
    assert re.search(r"epoch +1/1 .*cosine \d", trained.err)
    assert re.search(r"epoch +1/1 .*kd \d.*reference \d", trained.err)
