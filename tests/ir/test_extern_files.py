"""Offline models from files whose format does not tell what they expect."""

from __future__ import annotations

from pathlib import Path

import pytest

from landbridge.ir.program import ExternModel
from landbridge.runtime.errors import SignatureError
from landbridge.runtime.sidecar import sidecar_path, write_sidecar
from landbridge.runtime.signature import Port, Signature
from landbridge.simulators.cambricon.make_cambricon import make_cambricon
from support.small_onnx import node, small_model

DATA = b"a model whose format is not public"
SIGNATURE = Signature((Port("x", "float16", (1, 4)),), (Port("y", "float16", (1, 4)),))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.bin"
    path.write_bytes(DATA)
    return path


def test_the_sidecar_tells_vendor_options_and_signature(file: Path) -> None:
    write_sidecar(sidecar_path(file), DATA, SIGNATURE, "cambricon", {"symbol": "subnet0"})
    found = ExternModel.from_file(file, options={"tensor_dim_mutable": "false"})
    assert (found.vendor, found.name) == ("cambricon", "net.bin")
    assert found.options == {"symbol": "subnet0", "tensor_dim_mutable": "false"}
    assert (found.signature.inputs, found.signature.origin["inputs"]) == (SIGNATURE.inputs, "sidecar")


def test_the_caller_s_signature_goes_before_the_sidecar(file: Path) -> None:
    sidecar_path(file).write_text("not even JSON")
    found = ExternModel.from_file(file, "cambricon", signature=SIGNATURE)
    assert found.signature is SIGNATURE


def test_a_sidecar_that_contradicts_the_caller(file: Path) -> None:
    write_sidecar(sidecar_path(file), DATA, SIGNATURE, "cambricon", {"symbol": "subnet0"})
    at = sidecar_path(file)
    with pytest.raises(SignatureError) as caught:
        ExternModel.from_file(file, "magicmind")
    assert str(caught.value) == f"{at}: a sidecar of a cambricon blob, expected magicmind"
    with pytest.raises(SignatureError) as caught:
        ExternModel.from_file(file, options={"symbol": "main"})
    assert str(caught.value) == f"{at}: made for symbol 'subnet0', expected 'main'\n  hint: make a sidecar for symbol 'main'"


def test_a_sidecar_of_another_blob_is_refused(file: Path) -> None:
    write_sidecar(sidecar_path(file), DATA + b"!", SIGNATURE, "cambricon")
    with pytest.raises(SignatureError, match="the sidecar is of another blob"):
        ExternModel.from_file(file)


def test_the_name_of_the_file_tells_the_vendor(tmp_path: Path) -> None:
    for name, words in (("net.cambricon", "and libcnrt, which would"), ("net.mm", "and the package magicmind, which would")):
        path = tmp_path / name
        path.write_bytes(DATA)
        with pytest.raises(SignatureError, match=words):
            ExternModel.from_file(path)


def test_a_sidecar_spares_the_vendor_s_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model([node("Relu", "x", "y")], {"x": ("float16", (1, 4))}, {"y": ("float16", (1, 4))})
    path = tmp_path / "net.cambricon"
    path.write_bytes(make_cambricon(model))
    write_sidecar(sidecar_path(path), path.read_bytes(), SIGNATURE, "cambricon")
    monkeypatch.setattr("landbridge.runtime.vendors.registry.simulator", lambda name: pytest.fail("the library was asked"))
    assert ExternModel.from_file(path).signature.inputs == SIGNATURE.inputs
