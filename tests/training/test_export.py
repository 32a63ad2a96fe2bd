import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from safetensors.torch import load_file, save_file

from training.tiny import SETTINGS, Stripes, tiny_config
from vastus.errors import BundleError, MissingInputError, SettingsError, TrainingError
from vastus.inference.bundle import load_bundle
from vastus.training import export
from vastus.training.checkpoint import load_state
from vastus.training.export import CardFacts, export_run, onnx_model, rounded_network, share_weights, store_as_float16
from vastus.training.loop import TrainOptions, train
from vastus.training.networks import build_network
from vastus.training.transfer import initial_weights, mean_weights, read_weights

FACTS = CardFacts("tiny", "Stripes.", limits="Knows boxes only.", metrics={"dice": 0.5})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(tiny_config(steps=4), Stripes(), Stripes(seed=9), folder, options=TrainOptions(workers=0, progress=False))
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    export_run(run, folder, FACTS, licence="Text of a licence.")
    return folder


def test_the_bundle_is_complete_and_describes_itself(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert loaded.info.classes == ("background", "femur", "sartorius")
    assert loaded.info.preprocessing == SETTINGS
    assert loaded.info.metrics == {"dice": 0.5}
    assert set(loaded.info.files) == {
        "LICENSE",
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/model.onnx",
        "models/model.safetensors",
    }
    card = (bundle / "docs" / "README.md").read_text()
    for words in ("Stripes.", "Knows boxes only.", "4 steps of 1 windows", "| dice | 0.5 |"):
        assert words in card


def test_onnx_gives_the_logits_of_torch_for_any_batch(run: Path, bundle: Path) -> None:
    import onnxruntime

    config, state = tiny_config(steps=4), load_state(run)
    assert state is not None
    network, _ = rounded_network(config, state)
    session = onnxruntime.InferenceSession(str(bundle / "models/model.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        image = np.random.default_rng(batch).random((batch, 1, *SETTINGS.window_size), dtype=np.float32)
        (found,) = session.run(None, {"image": image})
        with torch.inference_mode():
            expected = network(torch.from_numpy(image)).numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_onnx_weights_are_stored_in_half_the_bytes(run: Path, bundle: Path) -> None:
    config, state = tiny_config(steps=4), load_state(run)
    assert state is not None
    network, _ = rounded_network(config, state)
    model = onnx_model(network, SETTINGS.window_size)
    before = sum(len(t.raw_data) for t in model.graph.initializer if t.data_type == 1)
    store_as_float16(model)
    after = sum(len(t.raw_data) for t in model.graph.initializer if t.data_type in (1, 10))
    assert after < 0.55 * before


def test_weights_lie_in_the_bundle_once(run: Path, bundle: Path) -> None:
    import onnx

    stored, network = bundle / "models" / "model.safetensors", bundle / "models" / "model.onnx"
    config, state = tiny_config(steps=4), load_state(run)
    assert state is not None
    alone = onnx_model(rounded_network(config, state)[0], SETTINGS.window_size)
    store_as_float16(alone)
    assert network.stat().st_size < len(alone.SerializeToString()) - 0.8 * stored.stat().st_size
    shared = onnx.load(str(network), load_external_data=False).graph.initializer
    outside = [t for t in shared if t.data_location == onnx.TensorProto.EXTERNAL]
    assert outside
    assert {e.value for t in outside for e in t.external_data if e.key == "location"} == {"model.safetensors"}
    # Read by ONNX's own loader they are the values that were there before.
    before = {t.name: onnx.numpy_helper.to_array(t) for t in alone.graph.initializer}
    for tensor in onnx.load(str(network)).graph.initializer:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), before[tensor.name])


def test_safetensors_are_the_averaged_weights_and_can_start_a_run(run: Path, bundle: Path) -> None:
    state = load_state(run)
    assert state is not None
    stored = load_file(str(bundle / "models/model.safetensors"))
    assert stored.keys() == state.average.keys()
    for name, value in stored.items():
        assert value.dtype == torch.float16
        torch.testing.assert_close(value.float(), state.average[name], rtol=1e-3, atol=1e-6)
    weights = initial_weights(read_weights(bundle), tiny_config())
    assert weights["logits.weight"].dtype == torch.float32


def test_the_mean_counts_each_as_often_as_it_is_given(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    train(
        tiny_config(steps=4, seed=5), Stripes(), Stripes(seed=9), other, options=TrainOptions(workers=0, progress=False)
    )
    export_run(run, tmp_path / "mean", replace(FACTS, mean_with=(other, other)), licence="")
    own, given = read_weights(run).tensors, read_weights(other).tensors
    mean = read_weights(tmp_path / "mean").tensors
    name = "logits.weight"
    assert not torch.equal(own[name], given[name])
    torch.testing.assert_close(mean[name], (own[name] + 2 * given[name]) / 3, rtol=1e-3, atol=1e-6)
    card = (tmp_path / "mean" / "docs" / "README.md").read_text(encoding="utf-8")
    assert "the mean of this training and of other, other" in card


def test_there_is_no_mean_with_other_classes(run: Path, tmp_path: Path) -> None:
    weights = read_weights(run)
    stranger = replace(weights, path=tmp_path / "stranger", classes=(*weights.classes[:-1], "gracilis"))
    with pytest.raises(SettingsError, match=r"differ in classes.*\n?.*stranger"):
        mean_weights(weights, [stranger])
    fewer = {name: tensor[:1] for name, tensor in weights.tensors.items() if tensor.ndim}
    with pytest.raises(SettingsError, match="layers"):
        mean_weights(weights, [replace(weights, tensors=fewer)])


def test_monai_entries_build_the_network(bundle: Path) -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    network = parser.get_parsed_content("network_def")
    network.load_state_dict({k: v.float() for k, v in load_file(str(bundle / "models/model.safetensors")).items()})
    with torch.inference_mode():
        assert network.eval()(torch.rand(1, 1, *SETTINGS.window_size)).shape == (1, 3, *SETTINGS.window_size)
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["name"] == "tiny"


def test_a_disagreement_writes_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "onnx_difference", lambda *_: float("nan"))
    with pytest.raises(TrainingError, match="differ"):
        export_run(run, tmp_path / "bundle", FACTS, licence="x")
    assert list(tmp_path.iterdir()) == []


def test_no_run_and_a_full_folder_are_refused(run: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        export_run(tmp_path, tmp_path / "out", FACTS, licence="x")
    with pytest.raises(BundleError, match="not empty"):
        export_run(run, bundle, FACTS, licence="x")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unetr_small", "unet", "resunet"])
def test_every_network_exports(name: str, tmp_path: Path) -> None:
    window = (32, 32, 16)
    torch.manual_seed(0)
    network = build_network(name, window_size=window).eval().requires_grad_(False)
    halves = {key: value.half().contiguous() for key, value in network.state_dict().items()}
    network.load_state_dict({key: value.float() for key, value in halves.items()})
    save_file(halves, str(tmp_path / "model.safetensors"))
    model = onnx_model(network, window)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert export.onnx_difference(tmp_path / "model.onnx", network, window) < 1e-3
    # The weights of linear layers, which the exporter transposes, are read from the safetensors file too.
    store_as_float16(model)
    share_weights(model, tmp_path / "model.safetensors")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert export.onnx_difference(tmp_path / "model.onnx", network, window) < 1e-3
    left = sum(len(t.raw_data) for t in model.graph.initializer)
    assert left < 0.02 * (tmp_path / "model.safetensors").stat().st_size


def test_the_bundle_tells_nothing_of_the_machine_that_made_it(bundle: Path) -> None:
    stored = (bundle / "models" / "model.onnx").read_bytes()
    assert b"stack_trace" not in stored
    assert str(Path(export.__file__).parents[3]).encode() not in stored
