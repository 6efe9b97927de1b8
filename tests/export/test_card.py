from __future__ import annotations

import dataclasses
import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export.bundling import make_bundles
from export.card import model_card
from export.requests import BundleRequest, ExportSource
from foundation.bundle import Manifest, open_bundle

Bundles = dict[str, tuple[Path, Manifest]]
EVERY = ["onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"]

# Only numpy and one runtime, as on the device of somebody who has nothing of ours.
ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ImportError(f"{{name}} is not installed on this device")
sys.meta_path.insert(0, Refuse())
"""
REFUSED = {"torch", "onnx", "export", "foundation", "deploy_targets", "pipeline", "smskd", "PIL"}


def snippet_of(card: str) -> str:
    code, _ = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return code


def runs_as(code: str, folder: Path, other: str) -> str:
    """What the code prints, in a process of its own in a bundle's folder."""
    code = ALONE.format(refused=REFUSED | {other}) + code
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", EVERY)
def test_the_snippet_of_the_card_runs_alone_and_names_the_class(
    kind: str, bundles: Bundles
) -> None:
    folder, manifest = bundles[kind]
    code = snippet_of((folder / "README.md").read_text())
    _, logits = open_bundle(folder).probe()
    other = "openvino" if manifest.format == "onnx" else "onnxruntime"
    tell = "\nprint(repr(float(logits[0].max())))"
    name, largest = runs_as(code + tell, folder, other).split()
    assert name == manifest.classes[int(logits[0].argmax())]
    limit = manifest.parity["max_abs_error"]
    assert float(largest) == pytest.approx(float(logits[0].max()), abs=limit * 1.01 + 1e-5)
    # The first image alone could be right by chance: let the snippet see another.
    number = int(np.flatnonzero(logits.argmax(1) != logits[0].argmax())[0])
    again = code.replace("[:1]", f"[{number}:{number + 1}]")
    assert runs_as(again, folder, other).split() == [manifest.classes[int(logits[number].argmax())]]


def test_the_check_of_the_snippet_would_see_other_libraries(bundles: Bundles) -> None:
    with pytest.raises(AssertionError, match="onnxruntime is not installed"):
        runs_as(snippet_of((bundles["onnx-fp32"][0] / "README.md").read_text()),
                bundles["onnx-fp32"][0], "onnxruntime")  # fmt: skip


def test_the_snippets_of_embedded_preprocessing_take_the_bytes(
    gray_source: ExportSource, tmp_path: Path
) -> None:
    wanted = [("onnx", "int8", "openvino"), ("openvino", "fp32", "onnxruntime")]
    requests = [
        BundleRequest("board", name, precision, embedding="normalise")
        for name, precision, _ in wanted
    ]
    manifests = make_bundles(gray_source, requests, tmp_path)
    for manifest, (_, _, other) in zip(manifests, wanted, strict=True):
        folder = tmp_path / manifest.name
        card = (folder / "README.md").read_text()
        assert "np.array" not in snippet_of(card)
        assert "uint8, grey, shape (1, 32, 32, 1)" in card
        _, logits = open_bundle(folder).probe()
        expected = manifest.classes[int(logits[0].argmax())]
        assert runs_as(snippet_of(card), folder, other).split() == [expected]


@pytest.mark.parametrize("kind", EVERY)
def test_the_card_tells_what_the_manifest_does(kind: str, bundles: Bundles) -> None:
    folder, manifest = bundles[kind]
    card = (folder / "README.md").read_text()
    accuracy = manifest.accuracy
    assert card.startswith(f"# {manifest.name}\n")
    for figure in ("top1", "low", "high"):
        assert f"{accuracy[figure]:.2%}" in card
    for name, digest in manifest.files.items():
        assert (f"`{digest}`" in card) is (name != "README.md")
    for word in (*manifest.classes, "| local |", str(manifest.runtime), '"recipe": "toy"'):
        assert word in card
    assert ("## How it was quantised" in card) is (manifest.precision == "int8")
    assert ("activation type: u8" in card) is (manifest.precision == "int8")


def test_names_cannot_break_the_card(bundles: Bundles) -> None:
    folder, manifest = bundles["onnx-fp32"]
    classes = ["a\n# b", "```", "c | d", "é {{ m.name }}"]
    files = {name: digest for name, digest in manifest.files.items() if name != "README.md"}
    odd = dataclasses.replace(manifest, classes=classes, target="x | y\n\n```", files=files)
    card = model_card(odd, folder)
    assert "\n# b" not in card
    shown = html.unescape(re.search(r"## Classes\n\n(.*?)\n\n", card, re.DOTALL)[1])  # type: ignore[index]
    assert shown == "0. a # b\n1. ```\n2. c | d\n3. é {{ m.name }}"
    assert len(re.findall(r"^```", card, re.MULTILINE)) == 6
    assert "made for | x &#124; y &#96;&#96;&#96; |" in card


def test_what_was_not_measured_is_not_claimed(bundles: Bundles) -> None:
    folder, manifest = bundles["openvino-fp32"]
    bare = dataclasses.replace(
        manifest, accuracy={}, parity={}, origin={}, format="tflite", classes=["one"]
    )
    card = model_card(bare, folder)
    assert "Accuracy was not measured" in card
    for word in ("%", "Agreement", "## Where it came from", "import openvino"):
        assert word not in card


def test_names_are_text_and_nothing_else(bundles: Bundles) -> None:
    folder, manifest = bundles["onnx-fp32"]
    names = [
        "<img src=x onerror=alert(1)>", "![a](http://evil.test/x.png)", "[b](javascript:x)",
        "https://evil.test", "www.evil.test", "`c` | d", "e\n\n# Heading", "f_g", "*h*",
    ]  # fmt: skip
    hostile = dataclasses.replace(
        manifest, classes=names, target="<script>x</script>", origin={"run": "<b>`</b>"}
    )
    card = model_card(hostile, folder)
    outside = re.sub(r"```.*?```|`[^`\n]*`", "", card, flags=re.DOTALL)
    assert not re.search(r"<[a-z!/]|!\[|\]\(|https?:|www\.", outside)
    assert "<" not in card.replace("(pixel", "")
    assert "# Heading" not in card
    assert html.unescape(re.findall(r"^0\. (.*)$", card, re.MULTILINE)[0]) == names[0]
