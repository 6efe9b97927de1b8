"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_library_in_ten_lines_distils_a_users_own_networks(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    kd, at = result.stdout.splitlines()
    assert kd.startswith("kd {'ce'") and at.startswith("at {'ce'")
    assert "'reference'" not in kd and "'reference'" in at
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"1-kd", "2-at"}
