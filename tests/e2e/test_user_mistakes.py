"""Mistakes that users of such systems make: the message alone names the thing, what was found, what was expected, and the fix.

Each is from a public issue thread about a system of this kind. Where a fix is cheap, it is made here from the words of the message alone,
by ``mend``, and has to work.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from landbridge.cli import main
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import never_native, node, small_model

NODES = [
    node("Relu", "image", "clean"),
    node("Sigmoid", "clean", "features"),
    node("Exp", "features", "grown"),
    node("Add", "grown features", "result"),
]
OPEN, FIXED = ("float32", ("n", 4)), ("float32", (6, 4))
REGION = "inputs=clean;outputs=features"


def part(rows: int | str, function: str = "Sigmoid") -> Any:
    """Return the operator in the middle as a model."""
    kind = ("float32", (rows, 4))
    return small_model([node(function, "clean", "features")], {"clean": kind}, {"features": kind})


def with_context(**attributes: Any) -> bytes:
    """Return a model of ONNX Runtime's form with a vendor's blob in it."""
    context = helper.make_node("EPContext", ["clean"], ["features"], name="npu", domain="com.microsoft", **attributes)
    kinds = [helper.make_tensor_value_info(name, 1, [6, 4]) for name in ("image", "result", "features")]
    graph = helper.make_graph([NODES[0], context, node("Neg", "features", "result")], "g", kinds[:1], kinds[1:2], value_info=kinds[2:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the commands below name."""
    folder = tmp_path_factory.mktemp("mistakes")
    blob = make_om(part("n"), gears=(1, 2, 4))
    contents: dict[str, bytes] = {
        "detector.onnx": small_model(NODES, {"image": OPEN}, {"result": OPEN}).SerializeToString(),
        "fixed.onnx": small_model(NODES, {"image": FIXED}, {"result": FIXED}).SerializeToString(),
        "fallback.onnx": small_model(
            [node("Relu", "image", "clean"), never_native("clean", "result")],
            {"image": ("float32", ("n", 4, 4))},
            {"result": ("float32", ("n", 4, 4))},
        ).SerializeToString(),
        "backbone.om": blob,
        "other-chip.om": make_om(part("n"), gears=(1, 2, 4), soc="Ascend910B"),
        "gears.om": make_om(part("n"), gears=(4, 8)),
        "half.om": make_om(part(6), input_dtype="float16"),
        "narrow.om": make_om(small_model([node("Sigmoid", "x", "y")], {"x": ("float32", (6, 3))}, {"y": ("float32", (6, 3))})),
        "cut.om": blob[: len(blob) // 2],
        "encrypted.om": blob[:80] + b"\1" + blob[81:],
        "wrong-training-run.om": make_om(part("n", "Tanh"), gears=(1, 2, 4)),
        "file-context.onnx": with_context(embed_mode=0, ep_cache_context="npu.bin", source="OpenVINOExecutionProvider"),
        "escaping-context.onnx": with_context(embed_mode=0, ep_cache_context="../../etc/passwd", source="OpenVINOExecutionProvider"),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    np.savez(folder / "images.npz", image=np.ones((6, 4), np.float32))
    np.savez(folder / "double.npz", image=np.ones((6, 4)))
    np.savez(folder / "misspelt.npz", imgae=np.ones((6, 4), np.float32))
    np.savez(folder / "transposed.npz", image=np.ones((4, 6), np.float32))
    here = {"--replace": f"atlas0:{folder}/backbone.om;{REGION}"}
    assert main(["compile", f"{folder}/detector.onnx", "-o", f"{folder}/detector.lbr", "--replace", here["--replace"]]) == 0
    other = f"atlas0:{folder}/other-chip.om;{REGION}"
    assert main(["compile", f"{folder}/detector.onnx", "-o", f"{folder}/other-chip.lbr", "--replace", other]) == 0
    good = (folder / "detector.lbr").read_bytes()
    (folder / "tampered.lbr").write_bytes(good[: len(good) // 2] + bytes([good[len(good) // 2] ^ 1]) + good[len(good) // 2 + 1 :])
    (folder / "half-copied.lbr").write_bytes(good[:-100])
    return folder


Mend = Callable[[str, str], str]
"""From the command and the message, the command that works."""


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    Attributes:
        thread: where users complain of what it leads to elsewhere.
        command: what is typed, in the folder of the files.
        told: what the message must have: the thing, what was found, what was expected, and the fix.
        status: the exit status.
        mend: how the message alone leads to what works, where that can be tried here.
    """

    thread: str
    command: str
    told: tuple[str, ...]
    status: int = 1
    mend: Mend | None = None


def hinted(pattern: str, replaced: str, by: str = "{}") -> Mend:
    """Replace a part of the command by what ``pattern`` finds in the message."""

    def mend(command: str, message: str) -> str:
        found = re.search(pattern, message)
        assert found is not None, message
        assert replaced in command
        return command.replace(replaced, by.format(found[1]))

    return mend


def appended(pattern: str, added: str) -> Mend:
    """Add to the command what ``pattern`` finds in the message."""
    return lambda command, message: hinted(pattern, command, f"{command.replace('{', '{{')} {added}")(command, message)


def instead(old: str, new: str) -> Mend:
    """Replace a part of the command, as the message asks for."""
    return lambda command, message: command.replace(old, new)


MEANT = r"did you mean '([^']+)'\?"

MISTAKES: dict[str, Mistake] = {
    "a blob for another chip": Mistake(
        "NVIDIA/TensorRT#2176: engine planned on another GPU; MegEngine#388",
        "run other-chip.lbr -i images.npz --simulate atlas",
        ("other-chip.om", "compiled for Ascend910B", "this device is", "Ascend310", "hint:"),
    ),
    "a blob that was cut off": Mistake(
        "onnxruntime#18485: metadata mismatch on a cached engine",
        f"compile detector.onnx -o x.lbr --replace 'atlas0:cut.om;{REGION}'",
        ("cut.om", "bytes", "its header says", "hint:"),
        mend=instead("cut.om", "backbone.om"),
    ),
    "an encrypted blob": Mistake(
        "openvino#30577: a blob that needs something else to be read",
        "inspect encrypted.om",
        ("encrypted.om", "encrypted", "signature cannot be read", "hint:"),
    ),
    "a file that is no blob": Mistake(
        "executorch#2533: magic mismatch; TensorRT#2041: magic tag",
        f"compile detector.onnx -o x.lbr --replace 'atlas0:detector.lbr;{REGION}'",
        ("detector.lbr", "not an offline model of any known vendor", "vendors here: atlas"),
    ),
    "a blob on another vendor's device": Mistake(
        "openvino#38191: import picks the wrong device of two",
        f"compile detector.onnx -o x.lbr --replace 'gpu0:backbone.om;{REGION}'",
        ("backbone.om", "a blob of atlas", "runs on atlas", "not on gpu0", "such as atlas0"),
        status=2,
        mend=hinted(r"such as (atlas\d)", "gpu0"),
    ),
    "a device that there is not": Mistake(
        "onnxruntime#25664: which accelerators can be used at all",
        f"compile detector.onnx -o x.lbr --replace 'npu0:backbone.om;{REGION}'",
        ("unknown device 'npu0'", "atlas"),
        status=2,
    ),
    "the vendor's library is not here": Mistake(
        "executorch#8762: stub library mismatch; torchchat#662: 0x20 = backend not registered",
        "run detector.lbr -i images.npz",
        ("atlas0", "libascendcl", "hint:", "LANDBRIDGE_SIMULATE=atlas"),
        mend=appended(r"(--simulate \w+)", "{}"),
    ),
    "a batch that no gear reaches": Mistake(
        "AISBench/benchmark#422: dynamic_batch_size parameter is not specified; onnxruntime#24498",
        f"compile fixed.onnx -o x.lbr --replace 'atlas0:gears.om;{REGION}'",
        ("clean", "[6, 4]", "gears 4, 8", "feed a batch of 4", "gears=split+pad"),
        mend=instead("outputs=features", "outputs=features;gears=split+pad"),
    ),
    "values of another type than the blob takes": Mistake(
        "onnxruntime#25692: a precision-free cast between two devices, inserted silently",
        f"compile fixed.onnx -o x.lbr --mode strict --replace 'atlas0:half.om;{REGION}'",
        ("clean", "float32", "float16", 'lb.astype(clean, "float16")'),
        mend=instead("--mode strict", "--mode auto"),
    ),
    "another shape than the blob takes": Mistake(
        "onnxruntime#28268: what was assigned where, and why",
        f"compile fixed.onnx -o x.lbr --replace 'atlas0:narrow.om;{REGION}'",
        ("narrow.om", "clean", "[6, 4]", "[6, 3]"),
    ),
    "copies that nobody asked for": Mistake(
        "onnxruntime#18032: warn whenever copies are inserted; executorch#21577",
        f"compile detector.onnx -o x.lbr --max-copies 1 --replace 'atlas0:backbone.om;{REGION}'",
        ("2 values cross", "--max-copies allows 1", "clean cpu -> atlas0", "features atlas0 -> cpu"),
        mend=hinted(r"(\d+) values cross", "copies 1", "copies {}"),
    ),
    "copies that are missing": Mistake(
        "onnxruntime#22413: the copy transformer is wrong with several providers",
        f"compile detector.onnx -o x.lbr --mode strict --replace 'atlas0:backbone.om;{REGION}'",
        ("backbone.om", 'clean = lb.copy(clean, "atlas0")', 'features = lb.copy(features, "cpu")', "strict"),
    ),
    "a region that is not closed": Mistake(
        "executorch#20384: partitioning creates a cycle; #20077",
        "compile detector.onnx -o x.lbr --replace 'atlas0:backbone.om;inputs=clean;outputs=grown'",
        ("features", "inside the region", "needed outside", "hint:"),
    ),
    "a tensor's name that is misspelt": Mistake(
        "executorch#13453: how to use more than one backend in a model",
        "compile detector.onnx -o x.lbr --replace 'atlas0:backbone.om;inputs=claen;outputs=features'",
        ("claen", "did you mean 'clean'?"),
        mend=hinted(MEANT, "claen"),
    ),
    "operators that silently run elsewhere": Mistake(
        "onnxruntime#10831: warn on silent CPU fallback; #7427: which, and why",
        "compile fallback.onnx -o x.lbr --fail-on-fallback",
        ("1 region is not native", "--fail-on-fallback", "quickgelu_result", "QuickGelu"),
        mend=instead("--fail-on-fallback", ""),
    ),
    "a device with too little memory": Mistake(
        "vllm-ascend#5650: several models on one NPU, memory accounting",
        f"compile detector.onnx -o x.lbr --memory-budget atlas0=1kB --dim n=6 --replace 'atlas0:backbone.om;{REGION}'",
        ("atlas0 needs", "--memory-budget allows 1000", "a smaller batch or largest gear"),
        mend=hinted(r"needs (\d+) bytes", "1kB"),
    ),
    "an input of another type": Mistake(
        "onnxruntime#16778: where casts come from",
        "run detector.lbr -i double.npz --simulate atlas",
        ("input 'image'", "float64 [6, 4]", "expected", "float32 [n, 4]", "astype"),
        mend=instead("double", "images"),
    ),
    "an input whose axes are swapped": Mistake(
        "tensorflow#59311: tensors cannot be observed; NCHW fed with NHWC",
        "run detector.lbr -i transposed.npz --simulate atlas",
        ("input 'image'", "[4, 6]", "expected", "[n, 4]"),
        mend=instead("transposed", "images"),
    ),
    "an input's name that is misspelt": Mistake(
        "onnxruntime#18361: where inputs and outputs live, and what they are called",
        "run detector.lbr -i misspelt.npz --simulate atlas",
        ("imgae", "did you mean 'image'?"),
        mend=instead("misspelt", "images"),
    ),
    "an option that is misspelt": Mistake(
        "executorch#21577: flags exist but are not documented",
        "run detector.lbr -i images.npz --simulat atlas",
        ("there is no option '--simulat'", "did you mean '--simulate'?", "usage:"),
        status=2,
        mend=hinted(MEANT, "--simulat"),
    ),
    "a blob beside the model that was not copied": Mistake(
        "onnxruntime#23431: the process dies while loading an EPContext model",
        "compile file-context.onnx -o x.lbr",
        ("npu", "npu.bin", "No such file", "copy the file beside the model"),
    ),
    "a model that reads other people's files": Mistake(
        "onnxruntime#28605, #28725, #19174: path traversal through ep_cache_context",
        "compile escaping-context.onnx -o x.lbr",
        ("npu", "../../etc/passwd", "outside the model's folder", "hint:"),
    ),
    "an artifact that was changed": Mistake(
        "onnxruntime#29294: safe handling of compiled models",
        "run tampered.lbr -i images.npz --simulate atlas",
        ("tampered.lbr", "damaged", "SHA-256", "expected", "copy it again"),
        mend=instead("tampered", "detector"),
    ),
    "an artifact that was copied in part": Mistake(
        "openvino#37607: broken after a warm import",
        "inspect half-copied.lbr",
        ("half-copied.lbr", "cut"),
        mend=instead("half-copied", "detector"),
    ),
    "an engine built at the first inference": Mistake(
        "tvm#20040: the engine is built at the first inference; wants it at compile time",
        "compile detector.onnx -o x.lbr --offload 'atlas0;inputs=clean;outputs=features'",
        ("atlas", "no compiler that can be called from here", "vendor's tool", "replace"),
        mend=instead("--offload 'atlas0;", "--replace 'atlas0:backbone.om;"),
    ),
    "a delegate that computes something else": Mistake(
        "react-native-executorch#1363: delegate output differs, hard to find where",
        "verify wrong.lbr --reference detector.onnx -i images.npz --simulate atlas",
        ("the first that differs is 'features' out of wrong-training-run.om on atlas0", "made by wrong-training-run.om on atlas0"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_alone_leads_to_the_fix(
    name: str, files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    monkeypatch.delenv("LANDBRIDGE_SIMULATE", raising=False)
    mistake = MISTAKES[name]
    if "wrong.lbr" in mistake.command:
        assert main(["compile", "detector.onnx", "-o", "wrong.lbr", "--replace", f"atlas0:wrong-training-run.om;{REGION}"]) == 0
    capsys.readouterr()
    status = main(shlex.split(mistake.command))
    printed = capsys.readouterr()
    message = printed.err + printed.out
    assert status == mistake.status, message
    assert "Traceback" not in message
    missing = [text for text in mistake.told if text not in message]
    assert not missing, f"{missing} not in\n{message}"
    if "error:" in message:
        assert message.count("error:") == 1
        assert re.search(r"^  code: (LB\d\d(?!00)\d\d) \(landbridge explain \1\)$", message, re.M), f"no close code in\n{message}"
    if mistake.mend is not None:
        mended = mistake.mend(mistake.command, message)
        assert mended != mistake.command
        assert main(shlex.split(mended)) == 0, f"{mended}\n{capsys.readouterr().err}"


def test_there_are_twenty_and_more() -> None:
    assert len(MISTAKES) >= 20
    assert sum(mistake.mend is not None for mistake in MISTAKES.values()) >= 15
