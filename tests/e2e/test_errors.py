"""Wrong programs and files: one clear error each, by the user's names, on the command line, without a traceback."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from onnx import helper

from landbridge.cli import main
from landbridge.runtime import artifact
from landbridge.simulators.ascend.make_om import make_om
from support.om_data import om_data_dir
from support.small_onnx import node, small_model

Files = dict[str, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A model of three operators, an offline model for the one in the middle, and the artifact of both."""
    folder = tmp_path_factory.mktemp("files")
    shape = ("float32", (2, 4))
    model = small_model(
        [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Neg", "score", "result")],
        {"image": shape},
        {"result": shape},
    )
    middle = small_model([node("Sigmoid", "clean", "score")], {"clean": shape}, {"score": shape})
    odd = small_model([node("Relu", "image", "result")], {"image": shape}, {"result": shape})
    odd.graph.node[0].op_type, odd.graph.node[0].domain, odd.graph.node[0].name = "Frobnicate", "com.acme", "odd_one"
    odd.opset_import.append(helper.make_opsetid("com.acme", 1))
    found = {name: folder / name for name in ("model.onnx", "middle.om", "odd.onnx", "good.lbr", "out.lbr", "in.npz")}
    found["model.onnx"].write_bytes(model.SerializeToString())
    found["odd.onnx"].write_bytes(odd.SerializeToString())
    found["middle.om"].write_bytes(make_om(middle))
    assert main(["compile", str(found["model.onnx"]), "-o", str(found["good.lbr"]), "--replace", _replace(found)]) == 0
    np.savez(found["in.npz"], image=np.ones((2, 4), "float32"))
    return found


def _replace(files: Files, device: str = "atlas0", file: str = "middle.om") -> str:
    return f"{device}:{files.get(file, files['middle.om'].with_name(file))};inputs=clean;outputs=score"


def _compile(files: Files, *more: str, model: str = "model.onnx") -> list[str]:
    return ["compile", str(files["model.onnx"].with_name(model)), "-o", str(files["out.lbr"]), *more]


def _written(files: Files, name: str, data: bytes) -> str:
    path = files["model.onnx"].with_name(name)
    path.write_bytes(data)
    return str(path)


def _with_om(
    shape: Sequence[int | str] = (2, 4), *, two: bool = False, gears: Sequence[int] = (), dtype: str | None = None
) -> Callable[[Files], list[str]]:
    """A command that replaces the middle operator by an offline model of another kind."""

    def command(files: Files) -> list[str]:
        inputs = {"clean": ("float32", shape)} | ({"mask": ("float32", shape)} if two else {})
        nodes = [node("Mul", "clean mask", "score") if two else node("Sigmoid", "clean", "score")]
        blob = make_om(small_model(nodes, inputs, {"score": ("float32", shape)}), gears=gears, input_dtype=dtype)
        _written(files, "other.om", blob)
        return _compile(files, "--replace", _replace(files, file="other.om"))

    return command


def _encrypted(files: Files) -> list[str]:
    data = bytearray(files["middle.om"].read_bytes())
    data[80] = 1
    return ["inspect", _written(files, "encrypted.om", bytes(data))]


def _om2(files: Files) -> list[str]:
    path = files["model.onnx"].with_name("new.om")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", '{"om2_version": "1.0", "model_num": 1, "atc_command": "atc"}')
        archive.writestr("data/model_0/model_meta.json", "{}")
    return ["inspect", str(path)]


def _changed_artifact(files: Files) -> list[str]:
    data = bytearray(files["good.lbr"].read_bytes())
    data[len(data) // 2] ^= 1
    return ["run", _written(files, "changed.lbr", bytes(data)), "--fill", "ones", "--simulate", "atlas"]


def _newer_artifact(files: Files) -> list[str]:
    with mock.patch.object(artifact, "FORMAT_VERSION", (2, 0)):
        data = artifact.to_bytes(artifact.read(files["good.lbr"]))
    return ["run", _written(files, "newer.lbr", data), "--fill", "ones"]


def _engine(files: Files) -> list[str]:
    _written(files, "engine.om", struct.pack("<II16xBBBB", 0x74727466, 0, 10, 4, 0, 2) + bytes(64))
    return _compile(files, "--replace", _replace(files, file="engine.om"))


def _input(files: Files, **arrays: Any) -> list[str]:
    path = files["model.onnx"].with_name("other.npz")
    np.savez(path, **arrays)
    return ["run", str(files["good.lbr"]), "-i", str(path), "--simulate", "atlas"]


CASES: dict[str, tuple[Callable[[Files], list[str]], list[str]]] = {
    "missing model": (lambda f: _compile(f, model="none.onnx"), ["none.onnx"]),
    "not an ONNX file": (
        lambda f: ["compile", _written(f, "text.onnx", b"hello, world, this is no protobuf")],
        ["text.onnx", "not an ONNX"],
    ),
    "missing offline model": (lambda f: _compile(f, "--replace", _replace(f, file="none.om")), ["none.om", "No such file"]),
    "encrypted .om": (_encrypted, ["encrypted"]),
    "OM2 zip": (_om2, ["OM2"]),
    "wrong dtype": (_with_om(dtype="uint8"), ["clean", "float32", "uint8"]),
    "wrong shape": (_with_om(shape=(2, 5)), ["clean", "[2, 4]", "[2, 5]"]),
    "wrong arity": (_with_om(two=True), ["other.om", "2", "1"]),
    "batch no gears reach": (_with_om(shape=("n", 4), gears=(4, 8)), ["float32 [2, 4]", "gears 4, 8", "feed a batch of 4"]),
    "unknown device": (lambda f: _compile(f, "--replace", _replace(f, "npu0")), ["unknown device 'npu0'"]),
    "device of the wrong vendor": (lambda f: _compile(f, "--replace", _replace(f, "openvino0")), ["middle.om", "openvino0", "atlas"]),
    "blob of the wrong vendor": (_engine, ["engine.om"]),
    "unknown region": (lambda f: _compile(f, "--replace", _replace(f).replace("clean", "claen")), ["claen", "did you mean 'clean'?"]),
    "unsupported operator": (lambda f: _compile(f, "--no-fallback", model="odd.onnx"), ["odd_one", "Frobnicate"]),
    "strict mode": (lambda f: _compile(f, "--mode", "strict", "--replace", _replace(f)), ['clean = lb.copy(clean, "atlas0")']),
    "too many crossings": (
        lambda f: _compile(f, "--max-copies", "1", "--replace", _replace(f)),
        ["2 values cross", "--max-copies allows 1"],
    ),
    "artifact changed": (_changed_artifact, ["changed.lbr"]),
    "artifact of a newer format": (_newer_artifact, ["newer.lbr", "2.0"]),
    "missing vendor library": (lambda f: ["run", str(f["good.lbr"]), "--fill", "ones"], ["libascendcl", "LANDBRIDGE_SIMULATE=atlas"]),
    "unknown input": (lambda f: _input(f, imgae=np.ones((2, 4), "float32")), ["imgae", "did you mean 'image'?"]),
    "missing input": (lambda f: ["run", str(f["good.lbr"]), "--simulate", "atlas"], ["image"]),
    "wrong input dtype": (lambda f: _input(f, image=np.ones((2, 4))), ["image", "float64", "float32"]),
    "wrong input shape": (lambda f: _input(f, image=np.ones((2, 5), "float32")), ["image", "[2, 5]", "[2, 4]"]),
    "not an artifact": (lambda f: ["run", str(f["model.onnx"])], ["model.onnx"]),
    "nobody's file": (lambda f: ["inspect", _written(f, "notes.txt", b"hello")], ["notes.txt", "neither an artifact nor a blob"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_gives_one_clear_error(
    case: str, files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LANDBRIDGE_SIMULATE", raising=False)
    make, expected = CASES[case]
    command = make(files)
    capsys.readouterr()
    status = main(command)
    printed = capsys.readouterr()
    assert status == (2 if case == "unknown device" or case == "device of the wrong vendor" else 1), printed.err
    assert printed.err.count("error:") == 1
    assert "Traceback" not in printed.err
    assert printed.out == ""
    for text in expected:
        assert text in printed.err


def test_a_truncated_om_is_refused_at_any_offset(files: Files) -> None:
    from landbridge import ExternModel, errors

    data = (om_data_dir() / "model_om.om").read_bytes()
    step = 97  # a prime, so that offsets of every alignment come up; all offsets are enumerated beside the reader
    for length in range(0, len(data), step):
        with pytest.raises(errors.SignatureError):
            ExternModel.from_bytes(data[:length], "atlas", name="cut.om")
