"""ExecuTorch on the device: right whatever the memory's order, and refused where it would guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from deploy_targets.device import trying
from deploy_targets.device.runtimes import RUNTIMES, Model, load_session, open_runtime
from deploy_targets.remote.provisioning import packages_for
from export.formats import FORMATS
from export.quantization import QuantizationScheme
from foundation.errors import HostError, ModelMismatchError, UsageError

SHAPE = (2, 5, 7)


def test_a_set_up_does_not_bring_it_and_says_what_it_takes() -> None:
    with pytest.raises(UsageError, match=r"extension of PyTorch: 501 MB .* 1\.1 GB") as caught:
        packages_for(None, ["executorch"])
    assert "\n" not in str(caught.value)


def test_where_it_is_not_installed_it_is_said_how_to_get_it() -> None:
    try:
        open_runtime("executorch")
    except HostError as error:
        assert "pip install executorch" in str(error)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 3 * 5, 3))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def model_file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("executorch", reason="executorch is an extra: edge-compress[executorch]")
    folder = tmp_path_factory.mktemp("executorch")
    nothing, scheme = np.empty((0, *SHAPE), np.float32), QuantizationScheme()
    made = FORMATS.get("executorch")().write_network(network, "fp32", folder, nothing, scheme)
    return folder / made.model_file


def session(model_file: Path, streams: int = 1):
    runtime = open_runtime("executorch")
    return load_session(runtime, Model(model_file, "input", "logits", 1, "f32", streams))


def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((4, *SHAPE)).astype(np.float32)


def test_one_image_and_many_and_memory_in_any_order_are_answered_alike(
    model_file: Path, network: nn.Module
) -> None:
    run, batch = session(model_file).run, images()
    with torch.no_grad():
        expected = network(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(run(batch), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(run(batch[:1]), run(batch)[:1])
    turned = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not turned[:1].flags.c_contiguous
    np.testing.assert_array_equal(run(turned), run(batch))


def test_the_library_itself_answers_wrongly_to_memory_in_another_order(model_file: Path) -> None:
    """Why it is made contiguous: the day this fails, that may go."""
    runtime = open_runtime("executorch")
    method = runtime._library._load_program(str(model_file)).load_method("forward")
    image = torch.from_numpy(images()[:1])
    turned = image.to(memory_format=torch.channels_last)
    assert torch.equal(turned, image)
    assert not torch.allclose(method.call((turned,))[0], method.call((image,))[0])


def test_an_answer_is_not_overwritten_by_the_next_and_lanes_may_run_at_once(
    model_file: Path,
) -> None:
    one, other = session(model_file, streams=2).lanes()
    first = one(images()[:1])
    kept = first.copy()
    one(images()[1:2])
    other(images()[2:3])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("change", ["size", "type"])
def test_an_input_that_it_would_misread_is_refused(model_file: Path, change: str) -> None:
    wrong = images()[:, :, 1:] if change == "size" else images().astype(np.float64)
    with pytest.raises(ValueError, match=r"its input is float32 \(N, 2, 5, 7\)"):
        session(model_file).run(wrong)


@pytest.mark.parametrize("size", [0, 200])
def test_a_damaged_file_is_refused(model_file: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "bad.pte").write_bytes(model_file.read_bytes()[:size])
    with pytest.raises(ModelMismatchError, match=r"executorch 1\..* cannot load it"):
        session(tmp_path / "bad.pte")


def test_what_it_computed_in_is_not_known_and_its_sample_comes_out_right(model_file: Path) -> None:
    assert session(model_file).executed_precision().summary == "unknown"
    assert RUNTIMES.get("executorch").format == "executorch"
    assert trying.try_runtime("executorch") == open_runtime("executorch").version
