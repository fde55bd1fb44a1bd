from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import landbridge as lb
from landbridge.frontends.onnx.from_onnx import from_onnx
from landbridge.ir.program import extern_device
from landbridge.runtime.device import Device
from landbridge.runtime.errors import LandbridgeError, ModelError, SignatureError, UnsupportedError
from landbridge.runtime.vendors import registry
from landbridge.simulators.ascend.make_om import make_om
from support.om_data import om_data_dir
from support.run_onnx import assert_same, reference, run_program
from support.small_onnx import node, small_model

WEIGHT = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def inner() -> Any:
    return small_model([node("MatMul", "p w", "q")], {"p": ("float32", ("n", 3))}, {"q": ("float32", ("n", 4))}, {"w": WEIGHT})


@lru_cache(maxsize=1)
def blob() -> bytes:
    pytest.importorskip("openvino")
    return registry.vendor("openvino").compile(inner().SerializeToString(), {})


def with_context(*, width: int = 3, **attributes: Any) -> Any:
    """Return ``x -> relu -> EPContext -> neg -> y``."""
    context = helper.make_node("EPContext", ["a"], ["b"], name="ctx", domain="com.microsoft", **{"embed_mode": 1, **attributes})
    nodes = [node("Relu", "x", "a"), context, node("Neg", "b", "y")]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", 1, ["n", width])],
        [helper.make_tensor_value_info("y", 1, ["n", 4])],
        value_info=[helper.make_tensor_value_info("b", 1, ["n", 4])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)


def refusal(model: Any, kind: type[LandbridgeError]) -> str:
    with pytest.raises(kind) as caught:
        from_onnx(model)
    return str(caught.value)


def test_an_embedded_blob_becomes_an_offline_model() -> None:
    program = from_onnx(with_context(ep_cache_context=blob(), source="OpenVINOExecutionProvider"))
    assert [(symbol, extern.vendor, extern.name) for symbol, extern in program.externs.items()] == [("ctx", "openvino", "ctx")]
    assert extern_device(program.module, "ctx") == Device("openvino", 0)
    assert not program.fallbacks
    whole = small_model(
        [node("Relu", "x", "a"), node("MatMul", "a w", "b"), node("Neg", "b", "y")],
        {"x": ("float32", ("n", 3))},
        {"y": ("float32", ("n", 4))},
        {"w": WEIGHT},
    )
    feeds = {"x": np.array([[1, -2, 3], [0.5, 0, 7]], np.float32)}
    assert_same(run_program(program, feeds), reference(whole, feeds))


def test_a_blob_of_cann_is_read_without_any_of_its_software() -> None:
    data = (om_data_dir() / "model_om.om").read_bytes()
    context = helper.make_node("EPContext", ["x"], ["y"], name="ctx", domain="com.microsoft", ep_cache_context=data, source="CANN")
    shape = registry.vendor("atlas").read_signature(data, {}).inputs[0].shape
    values = [helper.make_tensor_value_info("x", 1, shape), helper.make_empty_tensor_value_info("y")]
    graph = helper.make_graph([context], "g", values[:1], [helper.make_tensor_value_info("y", 1, [None] * 4)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    program = from_onnx(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    assert extern_device(program.module, "ctx") == Device("atlas", 0)


def test_a_blob_in_a_file_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "ctx.bin").write_bytes(blob())
    path = tmp_path / "m.onnx"
    path.write_bytes(with_context(embed_mode=0, ep_cache_context="ctx.bin", source="OpenVINO").SerializeToString())
    assert list(from_onnx(path).externs) == ["ctx"]


@pytest.mark.parametrize("location", ["../ctx.bin", "/etc/hostname"])
def test_a_file_outside_the_models_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "ctx.bin").write_bytes(b"blob")
    path = folder / "m.onnx"
    path.write_bytes(with_context(embed_mode=0, ep_cache_context=location, source="OpenVINO").SerializeToString())
    with pytest.raises(ModelError) as caught:
        from_onnx(path)
    assert str(caught.value).splitlines()[0] == f"m.onnx:ctx: its blob is in '{location}', which is outside the model's folder"


def test_links_lead_out_of_the_models_folder_as_paths_do(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "below").mkdir(parents=True)
    (tmp_path / "ctx.bin").write_bytes(blob())
    (folder / "here.bin").write_bytes(blob())
    (folder / "file.bin").symlink_to(tmp_path / "ctx.bin")
    (folder / "up").symlink_to(tmp_path)
    (folder / "below" / "back.bin").symlink_to("../here.bin")
    path = folder / "m.onnx"
    for location, leads_out in {"file.bin": True, "up/ctx.bin": True, "below/../../ctx.bin": True, "below/back.bin": False}.items():
        path.write_bytes(with_context(embed_mode=0, ep_cache_context=location, source="OpenVINO").SerializeToString())
        if not leads_out:
            assert list(from_onnx(path).externs) == ["ctx"]
            continue
        with pytest.raises(ModelError, match=f"its blob is in '{location}', which is outside the model's folder"):
            from_onnx(path)


def test_several_sources_in_one_graph(tmp_path: Path) -> None:
    """Ascend, then the CPU, then OpenVINO, whose context is in a file: what ONNX Runtime's own insertion of copies does not handle."""
    pytest.importorskip("openvino", reason="needs OpenVINO")
    shape = ("float32", ("n", 4))
    om = make_om(small_model([node("Sigmoid", "x", "u")], {"x": shape}, {"u": shape}), gears=(1, 2, 4))
    part = small_model([node("Tanh", "v", "w")], {"v": shape}, {"w": shape})
    (tmp_path / "tanh.blob").write_bytes(registry.vendor("openvino").compile(part.SerializeToString(), {}))
    nodes = [
        helper.make_node("EPContext", ["x"], ["u"], name="ascend", domain="com.microsoft", ep_cache_context=om, source="CANN"),
        node("Neg", "u", "v"),
        helper.make_node(
            "EPContext", ["v"], ["w"], name="intel", domain="com.microsoft", embed_mode=0, ep_cache_context="tanh.blob", source="OpenVINO"
        ),
    ]
    ends = [[helper.make_tensor_value_info(name, 1, ["n", 4])] for name in "xw"]
    model = helper.make_model(
        helper.make_graph(nodes, "two", *ends),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )
    (tmp_path / "two.onnx").write_bytes(model.SerializeToString())
    compiled = lb.compile(from_onnx(tmp_path / "two.onnx"))
    assert [(c.value, c.source, c.destination) for c in compiled.report.copies] == [
        ("x", "cpu", "atlas0"),
        ("u", "atlas0", "cpu"),
        ("v", "cpu", "openvino0"),
        ("w", "openvino0", "cpu"),
    ]
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    with compiled.load(simulate=["atlas"]) as session:
        np.testing.assert_allclose(session.run({"x": x})["w"], np.tanh(-1 / (1 + np.exp(-x))), atol=2e-3)  # Ascend works in float16


def test_a_blob_in_a_file_needs_the_models_path() -> None:
    model = with_context(embed_mode=0, ep_cache_context="ctx.bin", source="OpenVINO")
    assert refusal(model, ModelError) == (
        "small:ctx: the blob of this node is in another file, 'ctx.bin'\n  hint: give the path of the model in place of its bytes"
    )


def test_an_unknown_source_is_named() -> None:
    text = refusal(with_context(ep_cache_context=b"blob", source="QNN"), UnsupportedError)
    assert text.startswith("small:ctx: an EPContext node of the source 'QNN'\n  hint: known sources: CANN, ")


def two_contexts(first: dict[str, Any], second: dict[str, Any]) -> Any:
    """Return ``x -> first -> u`` and ``-x -> second -> v``, two EPContext nodes of OpenVINO."""
    both = {"embed_mode": 1, "source": "OpenVINOExecutionProvider", "domain": "com.microsoft"}
    nodes = [
        node("Neg", "x", "m"),
        helper.make_node("EPContext", ["m"], ["v"], name="second", **both, **second),
        helper.make_node("EPContext", ["x"], ["u"], name="first", **both, **first),
    ]
    outputs = [helper.make_tensor_value_info(name, 1, ["n", 4]) for name in "uv"]
    graph = helper.make_graph(nodes, "two", [helper.make_tensor_value_info("x", 1, ["n", 3])], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)


def test_a_node_shares_the_blob_of_the_main_node_wherever_that_stands() -> None:
    program = from_onnx(two_contexts({"ep_cache_context": blob(), "main_context": 1}, {"main_context": 0}))
    assert [(extern.name, extern.data == blob()) for extern in program.externs.values()] == [("second", True), ("first", True)]
    x = np.array([[1, -2, 3], [0.5, 0, 7]], np.float32)
    assert_same(run_program(program, {"x": x}), {"u": x @ WEIGHT, "v": -x @ WEIGHT})


def test_of_several_main_nodes_the_one_of_the_partition_is_meant() -> None:
    model = two_contexts({"ep_cache_context": blob(), "partition_name": "a"}, {"main_context": 0, "partition_name": "a"})
    other = helper.make_node(
        "EPContext", ["x"], ["w"], name="third", domain="com.microsoft", source="OpenVINO", ep_cache_context=b"other", partition_name="b"
    )
    model.graph.node.append(other)
    assert [extern.data == blob() for extern in from_onnx(model).externs.values()] == [True, True]
    next(a for a in model.graph.node[1].attribute if a.name == "partition_name").s = b"c"
    assert refusal(model, ModelError).endswith("nodes of its source with a blob: first, third; partition_name tells them apart")


def test_a_node_that_shares_a_blob_nobody_has_is_refused() -> None:
    text = refusal(two_contexts({"main_context": 0}, {"main_context": 0}), ModelError)
    assert text == (
        "two:second: an EPContext node that shares a blob (main_context=0), but 0 nodes may be the one that has it\n"
        "  hint: nodes of its source with a blob: none; partition_name tells them apart"
    )


def test_a_node_without_a_blob_is_refused() -> None:
    assert refusal(with_context(source="CANN"), ModelError) == (
        "small:ctx: an EPContext node without a blob\n  hint: set its attribute ep_cache_context"
    )


def test_a_blob_that_does_not_take_the_nodes_input_is_refused() -> None:
    text = refusal(with_context(width=5, ep_cache_context=blob(), source="OpenVINO"), SignatureError)
    assert "value 'a' is float32 [n, 5], expected float32 [n, 3]" in text


def test_a_blob_of_another_vendor_is_refused() -> None:
    text = refusal(with_context(ep_cache_context=blob(), source="CANN"), SignatureError)
    assert text.startswith("ctx: this is a blob of openvino, expected one of atlas")
