from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from landbridge.runtime import load
from landbridge.runtime.artifact import Artifact, to_bytes
from landbridge.runtime.errors import DeviceError
from landbridge.runtime.plan import Extern
from support.plans import artifact, device_plan, extern, plan, tensor
from support.sessions import Toys, image
from support.toy_vendor import toy_blob


def doubled() -> Artifact:
    return artifact(device_plan(), [extern("double")])


def recorded(folder: Path, *rows: int) -> Path:
    """Record runs of `doubled` on images of so many rows."""
    with load(to_bytes(doubled())) as session:
        for count in rows:
            np.testing.assert_array_equal(session.record({"x": image(count)}, folder)["y"], session.run({"x": image(count)})["y"])
    return folder


def refusal(folder: Path, rows: int, first: float = 0) -> str:
    with load(to_bytes(doubled()), replay=folder) as session, pytest.raises(DeviceError) as caught:
        session.run({"x": image(rows, first)})
    return str(caught.value)


def test_a_replay_gives_what_was_recorded_without_the_device(tmp_path: Path, toys: Toys, caplog: pytest.LogCaptureFixture) -> None:
    folder = recorded(tmp_path / "calls", 4, 6)
    opened = len(toys["toy"].drivers)
    toys["toy"].missing = True
    with caplog.at_level(logging.INFO), load(to_bytes(doubled()), replay=folder) as session:
        for rows in (6, 4, 6):
            np.testing.assert_array_equal(session.run({"x": image(rows)})["y"], 4 * image(rows) + np.array([10, 20, 30], np.float32))
        assert session.simulated == ("toy",)
    assert len(toys["toy"].drivers) == opened
    assert f"toy0 is replayed from {folder}: its times say nothing about the hardware" in caplog.messages
    assert "double.toy is replayed as recorded on toy0" in caplog.messages


def test_a_recording_says_what_it_was_recorded_on(tmp_path: Path, toys: Toys) -> None:
    with load(to_bytes(doubled()), simulate=["toy"]) as session:
        session.record({"x": image(4)}, tmp_path)
        digest = session.artifact.section_digests["vendor/double"]
    facts = json.loads((tmp_path / digest / "model.json").read_text())
    assert (facts["name"], facts["vendor"], facts["device"], facts["simulated"]) == ("double.toy", "toy", "toy0", True)
    assert len(list((tmp_path / digest).glob("*.npz"))) == 1


def test_what_a_simulator_had_a_part_in_stays_simulated(tmp_path: Path, toys: Toys) -> None:
    (real,) = recorded(tmp_path, 4).glob("*/model.json")
    assert json.loads(real.read_text())["simulated"] is False
    with load(to_bytes(doubled()), simulate=["toy"]) as session:
        session.record({"x": image(6)}, tmp_path)
    recorded(tmp_path, 8)
    assert json.loads(real.read_text())["simulated"] is True
    real.write_text("damaged")
    recorded(tmp_path, 8)
    assert json.loads(real.read_text())["simulated"] is True


def test_the_same_run_is_recorded_once(tmp_path: Path, toys: Toys) -> None:
    assert len(list(recorded(tmp_path, 4, 4).glob("*/*.npz"))) == 1


def test_shapes_that_were_not_recorded_are_told_with_the_nearest(tmp_path: Path, toys: Toys) -> None:
    recorded(tmp_path, 4, 8, 16, 64)
    assert refusal(tmp_path, 9) == (
        "step 2, double.toy on toy0: no recorded call had these inputs: float32 [9, 3]; "
        "recorded were the shapes [8, 3] and [4, 3] and [16, 3]\n"
        "  hint: record this run where the device is, or replay with the inputs of a recorded one"
    )


def test_values_that_were_not_recorded_are_told_with_how_far_they_are(tmp_path: Path, toys: Toys) -> None:
    recorded(tmp_path, 4)
    text = refusal(tmp_path, 4, first=0.25)
    assert (
        "no recorded call had these inputs: float32 [4, 3]; one of the same shapes was recorded, its values differ by up to 0.5\n" in text
    )


def test_a_model_that_was_not_recorded_is_named_with_those_that_were(tmp_path: Path, toys: Toys) -> None:
    recorded(tmp_path, 4)
    other = artifact(device_plan(), [extern("double")], sections={"vendor/double": toy_blob("double") + b" "})
    with pytest.raises(DeviceError) as caught:
        load(to_bytes(other), replay=tmp_path)
    assert str(caught.value).startswith(f"double.toy on toy0: nothing is recorded in {tmp_path} of this blob, SHA-256 ")
    assert "hint: recorded there: double.toy; record it where the device is: landbridge run ARTIFACT --record " in str(caught.value)
    with pytest.raises(DeviceError, match="recorded there: nothing"):
        load(to_bytes(doubled()), replay=tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nothing like it", b"\x93NUMPY\x01\x00"])
def test_a_damaged_recording_is_told(tmp_path: Path, toys: Toys, content: bytes) -> None:
    (file,) = recorded(tmp_path, 4).glob("*/*.npz")
    file.write_bytes(content)
    assert f"double.toy on toy0: the recording {file} is damaged: " in refusal(tmp_path, 4)


def test_an_output_of_another_shape_is_told(tmp_path: Path, toys: Toys) -> None:
    (file,) = recorded(tmp_path, 4).glob("*/*.npz")
    np.savez(file, output0=np.zeros((4, 2), np.float32))
    assert "the recorded output 0 is float32 [4, 2], expected float32 [4, 3]" in refusal(tmp_path, 4)


def test_a_device_that_works_in_the_hosts_memory_is_replayed_too(tmp_path: Path, toys: Toys) -> None:
    buffers = [
        tensor("x", "input"),
        tensor("x", "alias", "toyhost0", base=0),
        tensor("y", "arena", "toyhost0"),
        tensor("y", "alias", base=2),
    ]
    what = artifact(plan(buffers, [Extern("double", "toyhost0", (1,), (2,), ())], {"x": 0}, {"y": 3}), [extern("double", "toyhost0")])
    with load(to_bytes(what)) as session:
        session.record({"x": image(3)}, tmp_path)
    toys["toyhost"].missing = True
    with load(to_bytes(what), replay=tmp_path) as session:
        np.testing.assert_array_equal(session.run({"x": image(3)})["y"], 2 * image(3))


def test_what_runs_on_the_cpu_is_neither_recorded_nor_replayed(tmp_path: Path, toys: Toys) -> None:
    buffers = [tensor("x", "input"), tensor("y", "arena")]
    what = artifact(plan(buffers, [Extern("double", "cpu", (0,), (1,), ())], {"x": 0}, {"y": 1}), [extern("double", "cpu")])
    with load(to_bytes(what)) as session:
        session.record({"x": image(3)}, tmp_path)
    assert not list(tmp_path.iterdir())
    with load(to_bytes(what), replay=tmp_path) as session:
        np.testing.assert_array_equal(session.run({"x": image(2)})["y"], 2 * image(2))
        assert session.simulated == ()


def test_tensors_on_a_replayed_device(tmp_path: Path, toys: Toys) -> None:
    folder = recorded(tmp_path, 4)
    with load(to_bytes(doubled()), replay=folder) as session:
        np.testing.assert_array_equal(session.to_device(image(5), "toy0").numpy(), image(5))
