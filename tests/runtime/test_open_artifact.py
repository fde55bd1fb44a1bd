from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import to_bytes
from landbridge.runtime.errors import (
    ArtifactCorrupt,
    ArtifactIncompatible,
    ArtifactUntrusted,
    DeviceError,
    InputError,
    UnsupportedError,
    UsageError,
)
from landbridge.runtime.plan import Buffer, Extern
from landbridge.runtime.vendors import registry
from support.plans import (
    artifact,
    extern,
    extern_plan,
    host_plan,
    plan,
    tensor,
)
from support.sessions import Toys, device_session, image, model_session
from support.toy_vendor import ToyVendor, toy_blob


def test_all_missing_devices_are_named_at_once(toys: Toys) -> None:
    toys["toy"].missing = toys["toyhost"].missing = True
    buffers = [tensor("x", "input", "toy0"), tensor("y", "input", "toyhost0"), tensor("z", "input", "toy1")]
    data = to_bytes(artifact(plan(buffers, [], {"x": 0, "y": 1, "z": 2}, {})))
    with pytest.raises(DeviceError) as caught:
        load(data)
    assert str(caught.value) == (
        "3 devices are missing\n- toy0: no toy here\n  hint: install toy\n- toyhost0: no toyhost here\n  hint: install toyhost\n"
        "- toy1: no toy here\n  hint: install toy"
    )
    with pytest.raises(DeviceError) as caught:
        load(data, simulate=["toyhost"])
    assert str(caught.value).startswith("2 devices are missing")
    assert toys["toyhost"].drivers[0].closed, "what was opened before the failure is closed"
    with load(data, simulate=["toy", "toyhost"]) as session:
        assert session.simulated == ("toy", "toyhost")


def test_the_environment_chooses_simulators_too(toys: Toys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    toys["toy"].missing = True
    monkeypatch.setenv("LANDBRIDGE_SIMULATE", " toy , ")
    with device_session() as session:
        assert session.simulated == ("toy",)
        assert repr(session).endswith("simulated: toy)")
    assert "toy0 is simulated: its results and times say nothing about the hardware" in caplog.text
    monkeypatch.setenv("LANDBRIDGE_SIMULATE", "tyo")
    with pytest.raises(UsageError, match="unknown vendor 'tyo'"):
        device_session()


def test_a_missing_vendor_and_a_refused_model(toys: Toys) -> None:
    with pytest.raises(ArtifactIncompatible, match=r"externs\[0\]\.vendor: needs the vendor 'acme'"):
        model_session([tensor("x", "input", "acme0"), tensor("y", "arena", "acme0")], device="acme0")
    with pytest.raises(DeviceError) as caught:
        model_session([tensor("x", "input", "toy0"), tensor("y", "arena", "toy0")], "refuse")
    assert str(caught.value) == "refuse.toy on toy0: this blob is for another toy"


def test_a_device_that_its_vendor_does_not_have(toys: Toys) -> None:
    record = replace(extern("double"), vendor="toyhost")
    with pytest.raises(ArtifactCorrupt) as caught:
        load(to_bytes(artifact(extern_plan(), [record])))
    assert str(caught.value) == "externs[0].device: toy0, but toyhost runs on toyhost"


def test_two_vendors_on_one_device_are_refused(toys: Toys) -> None:
    class Second(ToyVendor):
        name = "second"

    registry.register(Second())
    try:
        first = extern("double")
        with pytest.raises(UnsupportedError, match=r"toy0 is used by toy \('double.toy'\) and by second \('b.toy'\), which do not"):
            load(to_bytes(artifact(extern_plan(), [first, replace(first, symbol="b", vendor="second", name="b.toy")])))
    finally:
        registry.unregister("second")
    assert toys["toy"].drivers == []


def test_an_alias_across_memories_is_refused(toys: Toys) -> None:
    what = plan([tensor("x", "input"), tensor("x", "alias", "toy0", base=0)], [], {"x": 0}, {"y": 1})
    with pytest.raises(ArtifactCorrupt) as caught:
        load(to_bytes(artifact(what)))
    assert str(caught.value) == "plan.buffers[1].base: the memory of toy0 is not the host's"


def test_two_records_of_one_blob_load_it_once(toys: Toys) -> None:
    first = extern("double")
    second = replace(first, symbol="again", name="again.toy")
    fixed: dict[str, Any] = {"device": "toy0", "shape": (4, 3), "nbytes": 48}
    buffers = [tensor("x", "input", **fixed), tensor("t", "arena", **fixed), tensor("y", "arena", offset=64, **fixed)]
    steps = [Extern("double", "toy0", (0,), (1,), ()), Extern("again", "toy0", (1,), (2,), (0,))]
    what = plan(buffers, steps, {"x": 0}, {"y": 2}, dims=())
    with load(to_bytes(artifact(what, [first, second]))) as session:
        assert toys["toy"].drivers[0].models == 1
        np.testing.assert_array_equal(session(image(4))["y"].numpy(), 4 * image(4))


def test_elements_of_half_a_byte_go_in_and_out_with_a_byte_each() -> None:
    what = plan([Buffer("x", "cpu", "int4", (5,), "input", 3)], [], {"x": 0}, {"y": 0}, dims=())
    with load(to_bytes(artifact(what))) as session:
        found = session.run({"x": np.array([1, 7, 0, 0x0F, 0x08], np.uint8)})["y"]
        np.testing.assert_array_equal(found.view(np.int8), [1, 7, 0, -1, -8])
        with pytest.raises(InputError, match="int4, which no array holds as it is in memory"):
            session.bind({"x": np.zeros(5, np.uint8)}, {"y": np.zeros(5, np.uint8)})


def test_elements_of_half_a_byte_cannot_be_an_input_on_a_device(toys: Toys) -> None:
    what = plan([Buffer("x", "toy0", "int4", (4,), "input", 2)], [], {"x": 0}, {}, dims=())
    with pytest.raises(UnsupportedError, match="'x' has elements of int4 on toy0"):
        load(to_bytes(artifact(what)))


def test_a_pinned_digest() -> None:
    data = to_bytes(artifact(host_plan()))
    with load(data) as session:
        digest = session.artifact.digest
    load(data, trust=f"sha256:{digest}").close()
    with pytest.raises(ArtifactUntrusted, match=f"its digest is sha256:{digest}, trusted is sha256:{'0' * 64}"):
        load(data, trust="sha256:" + "0" * 64)
    with pytest.raises(ArtifactUntrusted, match="'md5:1' does not pin an artifact"):
        load(data, trust="md5:1")


def test_a_blob_of_a_vendor_is_found_by_its_bytes(toys: Toys) -> None:
    found = registry.recognise(toy_blob("double"))
    assert found is not None
    assert found.name == "toy"
