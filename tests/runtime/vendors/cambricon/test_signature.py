"""Signatures of Cambricon models: from the library's fake device, with the dimensions that the caller may choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from landbridge.runtime.cache_folder import CACHE
from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Port, Signature
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.cambricon import CambriconVendor, cnrt, query
from landbridge.simulators.build import build_library
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.small_onnx import node, small_model

VENDOR = CambriconVendor()
MUTABLE = {"tensor_dim_mutable": "true"}


def relu(*shape: int | str) -> Any:
    return small_model([node("Relu", "x", "y")], {"x": ("float32", shape)}, {"y": ("float32", shape)})


def read(model: Any, options: dict[str, str] | None = None, **how: Any) -> Signature:
    return VENDOR.read_signature(make_cambricon(model, **how), options or {})


def test_a_fixed_function() -> None:
    signature = read(relu(2, 3))
    assert signature.inputs == (Port("x", "float32", (2, 3)),)
    assert signature.outputs == (Port("y", "float32", (2, 3)),)
    assert signature.origin == {"inputs": "device", "outputs": "device", "versions": "device"}


def test_open_dimensions_get_names_where_the_caller_chooses() -> None:
    how: dict[str, Any] = {"tensor_dim_mutable": True, "sizes": {"h": 4, "w": 5}}
    assert read(relu("n", 3, "h", "w"), MUTABLE, **how).outputs == (Port("y", "float32", ("batch", "height", "width", 3), "NHWC"),)
    assert read(relu("n", 3, "h", "w"), **how).outputs == (Port("y", "float32", (1, 4, 5, 3), "NHWC"),)


def test_a_dimension_that_outputs_depend_on_otherwise_stays_as_it_was_compiled() -> None:
    pool = small_model(
        [node("MaxPool", "x", "y", kernel_shape=[1, 2], strides=[1, 2])],
        {"x": ("float32", ("n", 3, "h", "w"))},
        {"y": ("float32", ("n", 3, "h", "v"))},
    )
    signature = read(pool, MUTABLE, tensor_dim_mutable=True, sizes={"h": 4, "w": 6, "v": 3})
    assert signature.inputs[0].shape == ("batch", "height", 6, 3)
    assert signature.outputs[0].shape == ("batch", "height", 3, 3)


def test_inputs_of_different_sizes_have_dimensions_of_their_own() -> None:
    two = small_model(
        [node("Relu", "a", "p"), node("Relu", "b", "q")],
        {"a": ("float32", ("n", "k", 2)), "b": ("float32", ("n", "l", 2))},
        {"p": ("float32", ("n", "k", 2)), "q": ("float32", ("n", "l", 2))},
    )
    signature = read(two, MUTABLE, tensor_dim_mutable=True, sizes={"k": 3, "l": 5})
    assert [port.shape for port in signature.outputs] == [("batch", "a_1", 2), ("batch", "b_1", 2)]


def test_one_function_of_several_must_be_named() -> None:
    blob = make_cambricon({"first": relu(1, 2), "second": relu(3, 4)})
    assert VENDOR.read_signature(blob, {"symbol": "second"}).inputs[0].shape == (3, 4)
    for options, found in (({}, "it has 2 functions"), ({"symbol": "third"}, "it has no function 'third'")):
        with pytest.raises(SignatureError) as caught:
            VENDOR.read_signature(blob, options)
        assert str(caught.value) == f"Cambricon model: {found}\n  hint: give one of its symbols: first, second"


def test_unknown_options() -> None:
    with pytest.raises(SignatureError, match="unknown option 'symbl'"):
        read(relu(1, 2), {"symbl": "subnet0"})
    with pytest.raises(SignatureError, match="tensor_dim_mutable is 'yes', expected true or false"):
        read(relu(1, 2), {"tensor_dim_mutable": "yes"})


def test_a_model_that_is_cut_off_is_refused_before_the_library_sees_it() -> None:
    blob = make_cambricon(relu(1, 2))
    for damaged in (blob[:-1], blob + b"x", blob[:40]):
        with pytest.raises(SignatureError, match="the model is cut off or has bytes after its end"):
            VENDOR.read_signature(damaged, {})


def test_without_the_library_it_says_how_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnrt, "library_places", lambda: [Path("/nowhere/libcnrt.so"), Path("libcnrt-that-is-not-here.so")])
    with pytest.raises(SignatureError) as caught:
        VENDOR.read_signature(b"a real one", {})
    assert str(caught.value) == (
        "Cambricon model: the format does not tell what the model expects, and libcnrt, which would, is not installed here\n"
        "  hint: put a sidecar FILE.sig.json beside it: `landbridge capture FILE` writes one where libcnrt is (a card is not needed); "
        "or give signature=lb.Signature(...)"
    )


def test_with_a_library_installed_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator stands in for an installed libcnrt, which refuses what it does not know."""
    monkeypatch.setattr(cnrt, "library_places", lambda: [registry.simulator("cambricon")])
    with pytest.raises(SignatureError) as caught:
        VENDOR.read_signature(b"a model of another kind, longer than its head is", {})
    assert str(caught.value) == (
        "Cambricon model: cnrtLoadModelFromMem failed with error 632020 (UNSUPPORTED): CNRT_RET_ERR_UNSUPPORTED: cnrtLoadModelFromMem: "
        "this is no simulated offline model; the format of real ones is not public"
    )


def test_a_library_that_crashes_ends_its_own_process_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    crash = '__attribute__((visibility("default"))) int cnrtInit(unsigned flags) { (void)flags; __builtin_trap(); }'
    (tmp_path / "crash.c").write_text(crash)
    library = build_library("libcnrt.so", tmp_path)
    with pytest.raises(SignatureError, match=r"libcnrt crashed on this model \(SIG\w+\): it is cut off, or not one of Cambricon's"):
        query.query(str(library), b"a model", {}, "Cambricon model")


def test_a_library_that_prints_and_refuses_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    (tmp_path / "banner.c").write_text(
        '#include <stdio.h>\n#define API __attribute__((visibility("default")))\n'
        'API int cnrtInit(unsigned flags) { puts("CNRT: 4.10.4"); return flags == 1 ? 632009 : 0; }\n'
        'API const char *cnrtGetErrorStr(int code) { return code == 632009 ? "no driver" : "?"; }\n'
    )
    library = build_library("libcnrt.so", tmp_path)
    with pytest.raises(SignatureError, match=r"^Cambricon model: cnrtInit failed with error 632009 \(NODEV\): no driver\n  code: "):
        query.query(str(library), b"a model", {}, "Cambricon model")
