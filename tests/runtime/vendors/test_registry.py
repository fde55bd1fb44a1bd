from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from landbridge.runtime.errors import UnsupportedError, UsageError
from landbridge.runtime.vendors import registry

PROJECT = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())["project"]


def test_the_built_in_vendors_and_simulators_are_the_entry_points() -> None:
    assert PROJECT["entry-points"][registry.GROUP] == registry.BUILT_IN
    assert PROJECT["entry-points"][registry.SIMULATORS_GROUP] == registry.BUILT_IN_SIMULATORS


def test_vendors_are_found_by_name_and_by_bytes() -> None:
    assert registry.vendor("atlas").device_kind == "atlas"
    found = registry.recognise(b"IMOD" + bytes(300))
    assert found is not None
    assert found.name == "atlas"
    assert registry.recognise(b"nobody's") is None


def test_an_unknown_vendor_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=f"unknown vendor 'quipu'\n  hint: vendors here: {', '.join(sorted(registry.BUILT_IN))}"):
        registry.vendor("quipu")


def test_an_unknown_simulator_names_the_known_ones() -> None:
    with pytest.raises(UnsupportedError, match="there is no simulator of 'abacus'\n  hint: simulators here: atlas"):
        registry.simulator("abacus")


def test_the_ascend_simulator_is_a_library() -> None:
    assert registry.simulator("atlas").name == "libascendcl.so"


def test_two_vendors_share_a_device_only_in_the_host_s_memory() -> None:
    registry.check_memory([("cpu", "onnxruntime", "a"), ("cpu", "litert", "b"), ("atlas0", "atlas", "c"), ("atlas0", "atlas", "d")])
    registry.check_memory([("cambricon0", "cambricon", "a"), ("cambricon1", "magicmind", "b")])
    with pytest.raises(UnsupportedError) as caught:
        registry.check_memory([("cambricon0", "cambricon", "a"), ("cpu", "litert", "b"), ("cambricon0", "magicmind", "c")])
    assert str(caught.value) == (
        "cambricon0 is used by cambricon ('a') and by magicmind ('c'), which do not share memory\n  hint: run one of them on another device"
    )


def test_one_vendor_is_found_without_the_others_and_the_order_of_all_stays() -> None:
    code = (
        "import sys\nfrom landbridge.runtime.vendors import registry\n"
        "found = registry.find('iree')\nassert registry.find('quipu') is None\n"
        "assert not any(name.startswith('landbridge.runtime.vendors.atlas') for name in sys.modules)\n"
        "assert registry.vendors()['iree'] is found is registry.find('iree')\nprint(*registry.vendors())"
    )
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.split() == sorted(registry.BUILT_IN)
