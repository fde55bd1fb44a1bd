"""Several blobs for one call, on toy devices: which one runs, where, and what is said of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import Artifact, ExternRecord, to_bytes
from landbridge.runtime.choose import PassedOver
from landbridge.runtime.doctor import check_up
from landbridge.runtime.errors import ArtifactCorrupt, DeviceError, InputError
from landbridge.runtime.plan import Extern
from landbridge.runtime.session import Session
from support.plans import artifact, device_plan, extern, extern_plan, plan, tensor
from support.sessions import Toys, image
from support.toy_vendor import signature


def blob(device: str, function: str, name: str) -> ExternRecord:
    """Return a record that can stand in for ``double`` of `device_plan`."""
    return replace(extern("double", device, function), name=name)


def fat(*blobs: ExternRecord, what: Any = None) -> Artifact:
    first, *others = blobs
    made = artifact(what or device_plan(), blobs)
    return replace(made, externs=(replace(first, alternatives=tuple(others)),))


def session(*blobs: ExternRecord, **options: Any) -> Session:
    return load(to_bytes(fat(*blobs)), **options)


def expected(x: Any) -> Any:
    return 4 * x + np.array([10, 20, 30], np.float32)


def check(opened: Session, rows: Sequence[int] = (1, 4, 6)) -> None:
    for n in rows:
        np.testing.assert_array_equal(opened.run({"x": image(n)})["y"], expected(image(n)))


def test_the_first_runs_where_it_can(toys: Toys, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "landbridge"), session(blob("toy0", "double", "a"), blob("cpu", "double", "b")) as opened:
        check(opened)
        (choice,) = opened.choices
        assert (choice.model, choice.name, choice.vendor, choice.device) == ("a", "a", "toy", "toy0")
        assert (choice.passed_over, choice.left) == ((), ("b",))
    assert toys["toycpu"].drivers == []
    assert "a: the first of its blobs is chosen, by toy on toy0" in caplog.text


def test_one_that_its_vendor_refuses_is_passed_over_on_the_same_device(toys: Toys, caplog: pytest.LogCaptureFixture) -> None:
    with session(blob("toy0", "refuse", "a"), blob("toy0", "double", "b")) as opened:
        check(opened)
        assert opened.choices[0].name == "b"
        assert opened.choices[0].passed_over == (PassedOver("a", "toy", "toy0", "model", "this blob is for another toy", ""),)
        assert [record.title for record in opened.artifact.externs[0].candidates] == ["b", "a"]
    assert [record.message for record in caplog.records] == [
        "a: a on toy0 is passed over: this blob is for another toy",
        "a: b runs in its place, by toy on toy0",
    ]


@pytest.mark.parametrize("device", ["cpu", "toyhost0", "toyhost3", "toy1"])
def test_on_another_device_where_that_of_the_plan_is_not_there(toys: Toys, device: str) -> None:
    first = blob("toyhost0" if device == "toy1" else "toy0", "double", "a")
    what = device_plan()
    if device == "toy1":  # the plan is for a device in the host's memory, the model runs on one that has its own
        moved = [replace(buffer, device="toyhost0") if buffer.device == "toy0" else buffer for buffer in what.buffers]
        steps = [replace(step, device="toyhost0") if isinstance(step, Extern) else step for step in what.steps]
        what = replace(what, buffers=tuple(moved), steps=tuple(steps), arenas={"cpu": what.arenas["cpu"], "toyhost0": what.arenas["toy0"]})
        toys["toyhost"].missing = True
    else:
        toys["toy"].missing = True
    with load(to_bytes(fat(first, blob(device, "double", "b"), what=what))) as opened:
        check(opened)
        assert (opened.choices[0].name, opened.choices[0].device) == ("b", device)
        reason = opened.choices[0].passed_over[0]
        assert (reason.reason, reason.fix) == ("device", f"install {reason.vendor}")
        _, boundaries = opened.boundaries({"x": image(3)})
        assert (boundaries[0].model, boundaries[0].device) == ("b", device)
        np.testing.assert_array_equal(boundaries[0].outputs[0].array, 4 * image(3))
        assert opened.profile({"x": image(3)})[1].to_json()["traceEvents"]


def test_tensors_on_a_device_that_is_not_there_are_on_the_host(toys: Toys) -> None:
    toys["toy"].missing = True
    with load(to_bytes(fat(blob("toy0", "double", "a"), blob("cpu", "double", "b"), what=extern_plan()))) as opened:
        x = opened.to_device(image(5), "toy0")
        y = opened.run({"x": x})["y"]
        assert y.device == "toy0"
        np.testing.assert_array_equal(y.numpy(), 2 * image(5))


def test_between_two_devices_over_the_host(toys: Toys) -> None:
    """Two calls share toy0; only the second one's blob runs there: the first one's arguments are on toy0 and it runs on toy1."""
    buffers = [tensor("x", "input", "toy0", nbytes=(gear := ["*", ["+", "n", 3], 12])), tensor("t", "arena", "toy0", nbytes=gear)]
    buffers.append(tensor("y", "arena", "toy0", nbytes=gear, offset=["*", ["//", ["+", gear, 63], 64], 64]))
    what = plan(buffers, [Extern("m", "toy0", (0,), (1,), ()), Extern("double", "toy0", (1,), (2,), (0,))], {"x": 0}, {"y": 2})
    first = replace(extern("m", "toy0", "refuse"), alternatives=(replace(extern("m", "toy1", "double"), name="there"),))
    made = artifact(what, [first, extern("double")])
    with load(to_bytes(made)) as opened:
        np.testing.assert_array_equal(opened.run({"x": image(2)})["y"].numpy(), 4 * image(2))
        assert [choice.device for choice in opened.choices] == ["toy1", "toy0"]
        with pytest.raises(InputError, match="there on toy1: a batch of 101"):
            opened.run({"x": image(101)})


def test_there_must_be_room_for_it(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.toy_vendor.ToyDriver.free_nbytes", lambda self: 1000)
    heavy = replace(signature(("n", 3)), weight_nbytes=600, workspace_nbytes=500)
    light = replace(heavy, weight_nbytes=300)
    what = [
        replace(blob("toy0", "double", "a"), signature=heavy),
        replace(blob("toy0", "add", "b"), signature=light, section="vendor/double"),
    ]
    with session(*what) as opened:
        check(opened)
        assert [(one.reason, one.text) for one in opened.choices[0].passed_over] == [
            ("memory", "1100 bytes are needed (weights 600, workspace 500), 1000 are free")
        ]


def test_blobs_of_other_calls_take_room_too(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.toy_vendor.ToyDriver.free_nbytes", lambda self: 1000)
    half = replace(signature(("n", 3)), weight_nbytes=600)
    fixed: dict[str, Any] = {"device": "toy0", "shape": (4, 3), "nbytes": 48}
    buffers = [tensor("x", "input", **fixed), tensor("t", "arena", **fixed), tensor("y", "arena", offset=64, **fixed)]
    steps = [Extern("one", "toy0", (0,), (1,), ()), Extern("two", "toy0", (1,), (2,), (0,))]
    records = [replace(extern(name, "toy0", "double"), signature=half, options={"call": name}) for name in ("one", "two")]
    records = [replace(one, alternatives=(replace(extern(one.symbol, "cpu", "double"), name="host"),)) for one in records]
    made = artifact(plan(buffers, steps, {"x": 0}, {"y": 2}, dims=()), records)
    with load(to_bytes(made)) as opened:
        np.testing.assert_array_equal(opened(image(4))["y"].numpy(), 4 * image(4))
        assert [choice.name for choice in opened.choices] == ["one.toy", "host"]
        assert opened.choices[1].passed_over[0].text == "1312 bytes are needed (weights 1200, tensors 112), 1000 are free"


def test_a_vendor_that_is_not_installed_is_passed_over(toys: Toys) -> None:
    alien = replace(blob("acme0", "double", "a"), vendor="acme")
    made = fat(blob("toy0", "refuse", "first"), alien, blob("cpu", "double", "b"))
    with load(to_bytes(made)) as opened:
        check(opened)
        assert [(one.name, one.reason) for one in opened.choices[0].passed_over] == [("first", "model"), ("a", "software")]
        assert "install the package that has it" in opened.choices[0].passed_over[1].fix


def test_none_that_runs_is_one_error_with_each_reason_and_fix(toys: Toys) -> None:
    toys["toyhost"].missing = True
    with pytest.raises(DeviceError) as caught:
        session(blob("toy0", "refuse", "a"), blob("toyhost0", "double", "b"))
    assert str(caught.value) == (
        "a: none of its 2 blobs can run here\n- a on toy0: this blob is for another toy\n"
        "- b on toyhost0: no toyhost here (fix: install toyhost)\n"
        "  hint: mend one of these, or compile with a blob for this machine, or with a fallback"
    )
    toys["toy"].missing = True
    with pytest.raises(DeviceError, match=r"a: none of its 2 blobs can run here\n- a on toy0: no toy here \(fix: install toy\)\n- b on"):
        session(blob("toy0", "refuse", "a"), blob("toyhost0", "double", "b"))


def test_a_device_in_the_file_that_no_vendor_has_is_damage(toys: Toys) -> None:
    with pytest.raises(ArtifactCorrupt, match=r"externs\[0\]\.device: toyhost0, but toy runs on toy"):
        session(blob("toy0", "double", "a"), replace(blob("toyhost0", "double", "b"), vendor="toy"))


def test_the_doctor_goes_by_the_same_rules(toys: Toys, tmp_path: Path) -> None:
    path = tmp_path / "fat.lbr"
    path.write_bytes(to_bytes(fat(blob("toy0", "refuse", "a"), blob("toyhost0", "double", "b"), blob("cpu", "double", "c"))))
    toys["toyhost"].missing = True
    found = check_up(path)
    assert (found.models, found.problems, found.exit_code) == (("c on cpu",), (), 0)
    assert [(one.name, one.reason) for one in found.passed_over] == [("a", "model"), ("b", "device")]
    with load(path) as opened:
        assert opened.choices[0].passed_over == found.passed_over
    toys["toycpu"].missing = True
    found = check_up(path)
    assert [(problem.kind, problem.at) for problem in found.problems] == [("model", "a on toy0"), ("device", "toyhost0"), ("device", "cpu")]
    assert (found.models, found.exit_code) == ((), 6)


def test_a_recording_of_one_blob_is_replayed_as_that_one(toys: Toys, tmp_path: Path) -> None:
    made = to_bytes(fat(blob("toy0", "refuse", "a"), blob("toy0", "double", "b"), blob("cpu", "double", "c")))
    with load(made) as opened:
        opened.record({"x": image(2)}, tmp_path)
    toys["toy"].missing = True
    with load(made, replay=tmp_path) as opened:
        check(opened, [2])
        assert opened.choices[0].name == "b"
        assert opened.choices[0].passed_over[0].text.startswith(f"nothing is recorded in {tmp_path} of this blob")
        with pytest.raises(DeviceError, match="no recorded call had these inputs"):
            opened.run({"x": image(3)})
