"""The Tab key, as bash asks: run folders, bundles, recipes, targets, methods, recipe keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy_targets.targets import target_names
from pipeline.cli._completion import complete_methods
from pipeline.recipe.by_name import shipped_names
from pipeline.recipe.keys import places
from pipeline.run_folder.folder import RunFolder
from smskd.methods import METHODS

COMPRESS = Path(sys.executable).with_name("compress")


def offered(line: str, cwd: Path) -> list[str]:
    """What bash shows after a line, at its end."""
    words = line.split(" ")
    env = {
        **os.environ, "_COMPRESS_COMPLETE": "complete_bash", "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }  # fmt: skip
    done = subprocess.run([COMPRESS], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compress bench ", ["runs/", "runs/tiny"]),
        ("compress gate runs/t", ["runs/tiny", "runs/tiny/"]),
        ("compress runs show ru", ["runs/", "runs/tiny"]),
        ("compress distill --run runs/ti", ["runs/tiny", "runs/tiny/"]),
        ("compress bench --bundle local-onnx", ["local-onnx-fp32", "local-onnx-int8"]),
        ("compress run tin", ["tiny-imagenet-study", "tiny.toml"]),
        ("compress study digits", ["digits", "digits-search", "digits-study"]),
        ("compress distill --stages at,k", ["at,kd", "at,kdsvd"]),
        ("compress distill --set bench.thr", ["bench.threads=", "bench.throughput_batch="]),
        ("compress distill --set stages.0.warm_", ["stages.0.warm_lr="]),
    ],
)
def test_what_is_there_is_offered(
    own: RunFolder, tmp_path: Path, line: str, expected: list[str]
) -> None:
    assert offered(line, tmp_path) == expected


def test_targets_and_words_are_offered_where_a_key_takes_them(tmp_path: Path) -> None:
    rpi = [name for name in target_names() if name.startswith("rpi")]
    assert offered("compress export --target rpi", tmp_path) == rpi
    assert offered("compress bench --scenario mu", tmp_path) == ["multi-stream"]


def test_an_empty_folder_offers_what_ships(tmp_path: Path) -> None:
    assert offered("compress bench ", tmp_path) == []
    assert offered("compress run ", tmp_path) == shipped_names()


def test_every_method_and_every_key_is_known() -> None:
    assert complete_methods("") == sorted([*METHODS.names(), "quant"])
    assert {"seed", "data.name", "data.augment.flip", "stages.0.epochs", "gate.limits"} <= {
        *places()
    }


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_takes_the_script_and_completes_with_it(own: RunFolder, tmp_path: Path) -> None:
    asked = """
    eval "$(compress --show-completion bash)"
    COMP_WORDS=(compress bench runs/ti) COMP_CWORD=2
    _compress_completion compress
    echo "${COMPREPLY[@]}"
    """
    path = os.pathsep.join([str(COMPRESS.parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    said = subprocess.run(
        ["bash", "-ec", asked], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.split() == ["runs/tiny", "runs/tiny/"]


def test_a_script_that_is_asked_for_ends_well(tmp_path: Path) -> None:
    env = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    said = subprocess.run(
        [COMPRESS, "--show-completion", "zsh"], env=env, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert "#compdef compress" in said.stdout
