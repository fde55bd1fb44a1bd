from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from landbridge.runtime.device import CPU, Device, register_kind
from landbridge.runtime.errors import UsageError
from landbridge.runtime.vendors import registry

SOURCES = Path(__file__).resolve().parents[2] / "src"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cpu", "cpu"),
        ("cpux", "cpu"),
        ("CPU0", "cpu"),
        ("atlas", "atlas0"),
        ("atlasx", "atlas0"),
        ("cuda:1", "gpu1"),
        ("mlu2", "cambricon2"),
    ],
)
def test_spellings(text: str, name: str) -> None:
    assert str(Device.parse(text)) == name
    assert Device.parse(Device.parse(text)) == Device.parse(name)
    assert Device.parse(text).is_cpu == (name == "cpu")
    assert Device.parse("cpu") == CPU


@pytest.mark.parametrize("text", ["", "abacus0", "atlas-1", "7"])
def test_what_is_no_device_names_the_kinds(text: str) -> None:
    told = r"(did you mean '[a-z]+\d+'\? )?a device is a kind and a number, as in atlas0; kinds: cpu, gpu, atlas"
    with pytest.raises(UsageError, match=rf"unknown device '{text}'\n  hint: {told}"):
        Device.parse(text)


def test_there_is_one_cpu() -> None:
    with pytest.raises(UsageError, match="unknown device 'cpu1': there is one CPU"):
        Device.parse("cpu1")


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(UsageError, match="device name 'cuda' already stands for 'gpu'"):
        register_kind("tpu", ("cuda",))


def test_the_kinds_of_vendors_are_known_without_asking_for_a_vendor() -> None:
    code = "from landbridge.runtime.device import Device; print(Device.parse('litert'), Device.parse('iree0'))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONPATH": str(SOURCES)})
    assert done.stdout == "litert0 iree0\n"


@pytest.mark.parametrize(("text", "meant"), [("atlsa0", "atlas0"), ("openvno", "openvino0"), ("gpuu1", "gpu1")])
def test_a_misspelt_device_is_corrected(text: str, meant: str) -> None:
    with pytest.raises(UsageError, match=rf"did you mean '{meant}'\? a device is"):
        Device.parse(text)


def test_a_misspelt_vendor_is_corrected() -> None:
    with pytest.raises(UsageError, match=r"unknown vendor 'altas'\n  hint: did you mean 'atlas'\? vendors here: "):
        registry.vendor("altas")
