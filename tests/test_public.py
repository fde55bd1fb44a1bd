"""The public face: names, docstrings, what an import loads."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import landbridge
from landbridge.runtime.vendors import registry

ROOT = Path(__file__).parents[1]


def test_the_package_under_test_is_this_checkout() -> None:
    assert Path(landbridge.__file__).resolve() == ROOT / "src/landbridge/__init__.py"
    assert Path(import_module("landbridge.runtime").__file__ or "").resolve() == ROOT / "runtime/__init__.py"


def test_all_names_are_there_and_explained() -> None:
    assert landbridge.__all__ == list(landbridge._HOME)
    for name in landbridge._HOME:
        assert getattr(landbridge, name).__doc__, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'landbridge' has no attribute 'frobnicate'"):
        landbridge.frobnicate  # noqa: B018 - the access is the test


def test_importing_the_package_loads_no_compiler() -> None:
    code = "import sys, landbridge; landbridge.load, landbridge.Session; assert not {'tvm', 'onnx', 'networkx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})


def test_without_the_compiler_a_name_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['tvm'] = None\n"
        "import landbridge\n"
        "try: landbridge.compile\n"
        "except ImportError as error: text = str(error)\n"
        "assert text == \"landbridge.compile needs the compiler: pip install 'landbridge[compiler]'\", text\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == landbridge.__version__


def test_built_in_vendors_and_simulators_are_those_of_the_metadata() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert points["landbridge.vendors"] == registry.BUILT_IN
    assert points["landbridge.simulators"] == registry.BUILT_IN_SIMULATORS
