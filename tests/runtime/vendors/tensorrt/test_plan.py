from __future__ import annotations

import json
import struct

import pytest

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Port
from landbridge.runtime.vendors import registry
from landbridge.runtime.vendors.tensorrt.plan import read_plan, recognises

BODY = b"undocumented" * 8


def bare(version: str = "10.3.0.26") -> bytes:
    return b"ftrt" + bytes(20) + bytes(int(part) for part in version.split(".")) + BODY


def old(layout: int) -> bytes:
    return b"ptrt" + bytes(4) + struct.pack("<I", layout) + bytes(16) + BODY


def ultralytics(plan: bytes) -> bytes:
    notes = json.dumps({"imgsz": [640, 640], "task": "detect", "names": {"0": "person"}}).encode()
    return struct.pack("<I", len(notes)) + notes + plan


def torch(plan: bytes, bindings: list[dict[str, object]], magic: bytes = b"TR01") -> bytes:
    notes = json.dumps({"io_bindings": bindings, "hardware_compatible": True, "target_platform": "linux_x86_64"}).encode()
    start = (32 + len(notes) + 15) // 16 * 16
    return struct.pack("<4sIIIQ8s", magic, 32, len(notes), start, len(plan), b"\x01") + notes.ljust(start - 32, b"\0") + plan


BINDINGS: list[dict[str, object]] = [
    {"name": "x", "dtype": "float16", "shape": [-1, 3, -1], "is_input": True},
    {"name": "y", "dtype": "torch.float32", "shape": [-1, 10], "is_input": False},
]


def test_the_version_is_in_the_head() -> None:
    assert read_plan(bare(), "p").version == "10.3.0.26"
    assert registry.vendor("tensorrt").describe(bare()) == [("built by", "TensorRT 10.3.0.26"), ("plan", f"{len(bare())} bytes")]


@pytest.mark.parametrize(("layout", "version"), [(205, "8.2"), (213, "8.4"), (232, "8.5"), (240, "")])
def test_an_old_plan_tells_its_release(layout: int, version: str) -> None:
    assert read_plan(old(layout), "p").version == version


@pytest.mark.parametrize("blob", [bare(), old(232), ultralytics(bare()), torch(bare(), [])])
def test_plans_and_wrapped_plans_are_recognised(blob: bytes) -> None:
    found = registry.recognise(blob)
    assert found is not None
    assert found.name == "tensorrt"
    assert bytes(read_plan(blob, "p").data[28:]) == BODY


def test_other_files_are_not() -> None:
    for other in (b"", b"IMOD", struct.pack("<I", 9) + b"{} nothing", struct.pack("<I", 1 << 31) + b"{}"):
        assert not recognises(other)
    with pytest.raises(SignatureError, match=r"^p: not a TensorRT plan\n  hint: give what trtexec --saveEngine wrote\n  code: "):
        read_plan(b"IMOD" + bytes(100), "p")


def test_what_ultralytics_says_is_shown() -> None:
    rows = dict(registry.vendor("tensorrt").describe(ultralytics(bare())))
    assert rows["wrapped by"] == "Ultralytics"
    assert rows["imgsz"] == "[640, 640]"
    assert rows["plan"] == f"{len(bare())} bytes"


def test_torch_tensorrt_lists_the_interface() -> None:
    signature = registry.vendor("tensorrt").read_signature(torch(bare(), BINDINGS), {})
    assert signature.inputs == (Port("x", "float16", ("batch", 3, "x_2")),)
    assert signature.outputs == (Port("y", "float32", ("batch", 10)),)
    assert signature.versions == {"tensorrt": "10.3.0.26"}


@pytest.mark.parametrize("blob", [bare(), ultralytics(bare()), torch(bare(), []), torch(bare(), [{"name": "x", "dtype": "", "shape": []}])])
def test_a_plan_that_does_not_tell_asks_for_a_sidecar(blob: bytes) -> None:
    text = (
        "TensorRT plan: a plan of TensorRT 10.3.0.26 does not tell its inputs and outputs\n"
        "  hint: write them beside it where the GPU is: landbridge capture; or give signature="
    )
    with pytest.raises(SignatureError) as caught:
        registry.vendor("tensorrt").read_signature(blob, {})
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (bare()[:20], "damaged: 20 bytes, the head of a plan alone has 28"),
        (b"ftrt" + struct.pack("<I", 3) + bytes(40), "a TensorRT plan with a head of version 3, expected 0"),
        (torch(bare(), [])[:30], "damaged: 30 bytes, its head alone has 32"),
        (torch(bare(), [])[:-4], "damaged: "),
        (torch(bare(), [], b"TR02"), "a Torch-TensorRT blob whose outputs share memory with inputs (TR02)"),
        (struct.pack("<I", 3) + b"{x}" + bare(), "damaged: what is in front of the plan is not JSON"),
    ],
)
def test_damage_is_named(blob: bytes, message: str) -> None:
    with pytest.raises(SignatureError) as caught:
        read_plan(blob, "p")
    assert caught.value.message.startswith(message)
    assert caught.value.at == "p"
    assert caught.value.hint
