from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from landbridge.frontends.onnx.load import load
from landbridge.runtime.errors import ModelError, UsageError
from support.small_onnx import node, small_model


def model() -> Any:
    weight = np.arange(6, dtype=np.float32)
    return small_model([node("Add", "x w", "y")], {"x": ("float32", (6,))}, {"y": ("float32", (6,))}, {"w": weight})


def outside_file(folder: Path, location: str) -> Path:
    """Write a model whose weight is in the file ``location``, and return its path."""
    proto = model()
    tensor = proto.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = folder / "models" / "m.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(proto.SerializeToString())
    (folder / "models" / "w.bin").write_bytes(data)
    (folder / "w.bin").write_bytes(data)
    return path


def error(given: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(given)
    return str(caught.value)


def test_a_path_bytes_and_a_proto_give_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model().SerializeToString())
    assert load(path) == (model(), "m.onnx")
    assert load(str(path))[0] == load(path.read_bytes())[0] == load(model())[0]
    assert load(model())[1] == "small"
    assert load(model(), "mine")[1] == "mine"


def test_the_callers_proto_is_not_handed_on() -> None:
    given = model()
    assert load(given)[0] is not given


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert error(tmp_path / "no.onnx") == f"{tmp_path / 'no.onnx'}: cannot read the model: No such file or directory"


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"PK\x03\x04 a zip", b"IMOD" + bytes(300), bytes(range(256))])
def test_what_is_no_onnx_model_is_refused(data: bytes) -> None:
    assert error(data) == "model: not an ONNX model\n  hint: give a file that an ONNX exporter wrote"


def test_what_can_be_no_model_at_all_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        load(None)
    assert str(caught.value) == "expected an ONNX model, found NoneType\n  hint: give a path, its bytes, or a ModelProto"


def test_an_invalid_model_is_refused_in_one_line_and_a_hint() -> None:
    proto = model()
    proto.graph.node[0].input[0] = "nowhere"
    text = error(proto)
    assert text.startswith("small: not a valid ONNX model: ")
    assert "nowhere" in text
    assert len(text.splitlines()) == 2  # with the hint


def test_data_beside_the_model_is_read_in(tmp_path: Path) -> None:
    proto, _ = load(outside_file(tmp_path, "w.bin"))
    np.testing.assert_array_equal(numpy_helper.to_array(proto.graph.initializer[0]), np.arange(6, dtype=np.float32))


@pytest.mark.parametrize("location", ["../w.bin", "sub/../../w.bin", "link.bin"])
def test_data_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    path = outside_file(tmp_path, location)
    (path.parent / "link.bin").symlink_to(tmp_path / "w.bin")
    assert error(path).splitlines()[0] == f"m.onnx:w: its data is in '{location}', which is outside the model's folder"


def test_an_absolute_name_is_refused(tmp_path: Path) -> None:
    location = str(tmp_path / "models" / "w.bin")
    assert (
        error(outside_file(tmp_path, location)).splitlines()[0]
        == f"m.onnx:w: its data is in '{location}', which is outside the model's folder"
    )


def test_missing_data_is_named(tmp_path: Path) -> None:
    assert error(outside_file(tmp_path, "gone.bin")).splitlines()[0] == "m.onnx:w: its data is in 'gone.bin', which is missing"


def test_data_in_other_files_needs_the_path(tmp_path: Path) -> None:
    data = outside_file(tmp_path, "w.bin").read_bytes()
    assert error(data) == (
        "small:w: the data of this tensor is in another file, 'w.bin'\n  hint: give the path of the model in place of its bytes"
    )
