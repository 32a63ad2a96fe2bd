import hashlib
import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnx")
from onnx import TensorProto, helper

from toy_bundle import write_toy_bundle
from vastus.errors import BundleError
from vastus.inference.bundle import INFO_FILE, ONNX_FILE, default_bundle_folder, load_bundle
from vastus.inference.onnx_files import external_files


def _outside(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="0")
    return tensor


def _model(path: Path) -> Path:
    """Tensors outside at every depth: of the graph, of a constant, of a branch inside a branch, of a function."""
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=_outside("c", "deep.bin"))],
        "inner",
        [],
        [],
        [_outside("d", "in")],
    )
    branch = helper.make_graph(
        [helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)], "b", [], []
    )
    nodes = [
        helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch),
        helper.make_node("Constant", [], ["k"], value=_outside("k", "constant.bin")),
    ]
    inside = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    graph = helper.make_graph(nodes, "g", [], [], [_outside("a", "weights.bin"), inside])
    function = helper.make_function(
        "f", "F", [], ["o"], [helper.make_node("Constant", [], ["o"], value=_outside("f", "function.bin"))], []
    )
    path.write_bytes(helper.make_model(graph, functions=[function]).SerializeToString())
    return path


def test_every_place_that_can_name_a_file_is_looked_at(tmp_path: Path) -> None:
    found = external_files(_model(tmp_path / "m.onnx"))
    assert found == {"weights.bin", "constant.bin", "deep.bin", "in", "function.bin"}


def test_the_shipped_weights_lie_in_one_named_file() -> None:
    assert external_files(default_bundle_folder() / ONNX_FILE) == {"model.safetensors"}


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x3a\xff\xff\x01junk")
    with pytest.raises(BundleError, match="can't be read"):
        external_files(tmp_path / "m.onnx")


def _retell(folder: Path) -> None:
    """Name the present hash of the ONNX file, as somebody would who changes a bundle on purpose."""
    info = folder / INFO_FILE
    values = json.loads(info.read_text())
    values["files"][ONNX_FILE] = hashlib.sha256((folder / ONNX_FILE).read_bytes()).hexdigest()
    info.write_text(json.dumps(values))


def test_weights_that_no_hash_covers_are_refused(tmp_path: Path) -> None:
    folder = write_toy_bundle(tmp_path / "bundle").folder
    load_bundle(folder)
    _model(folder / ONNX_FILE)
    _retell(folder)
    with pytest.raises(BundleError, match=r"models/weights\.bin"):
        load_bundle(folder)


def test_unnamed_weights_for_torch_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(write_toy_bundle(tmp_path / "toy").folder, folder)
    (folder / "models" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(BundleError, match="safetensors"):
        load_bundle(folder)
