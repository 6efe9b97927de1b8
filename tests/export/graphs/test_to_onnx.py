from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.checking.reference import torch_predictor
from export.formats import FORMATS
from export.graphs.cleaning import opset_of, set_metadata
from export.graphs.to_onnx import export_onnx
from export.requests import ExportSource
from foundation.errors import ExportError


class BranchesOnItsInput(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) if x.sum() > 0 else -x.mean((2, 3))


class MixesImages(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, -1)[:, :5]


class Demands32Images(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + torch.zeros(32, 3)


class GivesTwoOutputs(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3)), x.amax((2, 3))


class HasNoOnnxOperator(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x[:, 0]).real


@pytest.mark.parametrize("batch", [1, 7])
def test_the_file_gives_torchs_logits_for_any_batch_size(
    source: ExportSource, onnx_file: Path, batch: int
) -> None:
    images = source.preprocessing.apply(source.probe_images[:batch])
    logits = FORMATS.get("onnx")().predict(onnx_file, images)
    expected = torch_predictor(source.model)(images)
    assert logits.shape == (batch, 4)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_the_graph_is_named_dynamic_folded_and_checked(onnx_file: Path) -> None:
    model = onnx.load(onnx_file)
    onnx.checker.check_model(model, full_check=True)
    (entry,), (output,) = model.graph.input, model.graph.output
    assert (entry.name, output.name) == ("input", "logits")
    batch, *image = entry.type.tensor_type.shape.dim
    assert batch.dim_param == output.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [dim.dim_value for dim in image] == [3, 32, 32]
    assert output.type.tensor_type.shape.dim[1].dim_value == 4
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert opset_of(model) == 20
    named = {value.name for value in model.graph.value_info}
    assert {name for node in model.graph.node[:-1] for name in node.output} <= named


@pytest.mark.parametrize(("opset", "oldest_ir"), [(18, 8), (20, 9)])
def test_the_file_is_of_the_oldest_version_that_has_its_operators(
    opset: int, oldest_ir: int, tmp_path: Path
) -> None:
    """ONNX Runtime 1.14 knows operator set 18, but refuses files of version 10."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    export_onnx(model, torch.zeros(1, 3, 8, 8), tmp_path / "model.onnx", opset=opset)
    written = onnx.load(tmp_path / "model.onnx")
    assert (written.ir_version, opset_of(written)) == (oldest_ir, opset)


def test_the_file_stands_alone_and_tells_nothing_of_the_source_code(onnx_file: Path) -> None:
    assert [path.name for path in onnx_file.parent.iterdir()] == ["model.onnx"]
    content = onnx_file.read_bytes()
    for note in (b"pkg.torch", b"stack_trace", b"conftest.py", b"ToyNet"):
        assert note not in content


def test_metadata_is_added_and_what_was_there_stays(onnx_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(onnx_file.read_bytes())
    set_metadata(copy, {"note": json.dumps("mine")})
    found = {entry.key: json.loads(entry.value) for entry in onnx.load(copy).metadata_props}
    assert found["note"] == "mine"
    assert found["classes"] == ["top-left", "top-right", "bottom-left", "bottom-right"]
    assert found["preprocessing"]["mean"] == [0.4, 0.4, 0.4]
    assert found["origin"] == {"recipe": "toy", "seed": 0}


def test_the_model_stays_as_it_was(source: ExportSource, tmp_path: Path) -> None:
    model = source.model
    model.train()
    model.block.eval()
    model.to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    export_onnx(model, torch.zeros(1, 3, 32, 32), tmp_path / "model.onnx", opset=18)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert opset_of(onnx.load(tmp_path / "model.onnx")) == 18


@pytest.mark.parametrize(
    "model",
    [
        BranchesOnItsInput(),
        MixesImages(),
        Demands32Images(),
        GivesTwoOutputs(),
        HasNoOnnxOperator(),
    ],
)
def test_a_model_that_cannot_be_exported_is_named_in_one_line(
    model: nn.Module, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError) as caught:
        export_onnx(model, torch.zeros(1, 3, 32, 32), tmp_path / "model.onnx", opset=20)
    message = str(caught.value)
    assert message.startswith(type(model).__name__)
    assert "\n" not in message
    assert "\x1b" not in message
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_an_opset_that_the_exporter_does_not_know_is_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    with pytest.raises(ExportError, match="opset 99"):
        export_onnx(model, torch.zeros(1, 3, 8, 8), tmp_path / "model.onnx", opset=99)
