"""What a process imports to load and run an artifact, counted: times differ from one run to the next, modules do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from landbridge.runtime.artifact import to_bytes
from support.plans import artifact, extern, extern_plan, host_plan

ROOT = Path(__file__).parents[2]

SELDOM = "bound boundaries check_models comparison description doctor replay save_file selftest sidecar stats stream swap to_device trace"
"""Modules of the runtime that a load and a run do not need."""

SLOW = {"importlib.metadata", "inspect", "multiprocessing", "pathlib", "secrets", "subprocess", "tempfile"}
"""Modules of the standard library that take about a tenth of what NumPy takes, each, with what they import."""


def imported(code: str, argument: Path | str = "") -> set[str]:
    """Return the names of all modules that a process has imported after ``code``."""
    program = f"import sys\n{code}\nprint(*sys.modules)"
    environment = {"PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run([sys.executable, "-c", program, str(argument)], capture_output=True, text=True, check=True, env=environment)
    return set(result.stdout.split())


RUN = (
    "import numpy as np\nfrom landbridge.runtime import load\n"
    "with load(sys.argv[1]) as session:\n    session.run({'x': np.ones((2, 3), 'float32')})"
)


def test_the_runtime_is_imported_when_it_is_used() -> None:
    found = imported("import landbridge.runtime")
    assert {name for name in found if name.startswith("landbridge")} == {"landbridge", "landbridge.runtime"}
    assert "numpy" not in found


def test_a_run_of_host_code_imports_no_vendor_and_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "host.lbr").write_bytes(to_bytes(artifact(host_plan())))
    found = imported(RUN, tmp_path / "host.lbr")
    vendors = {name.split(".")[3] for name in found if name.startswith("landbridge.runtime.vendors.")}
    assert vendors == {"registry", "host_memory", "own"}
    assert not found & {f"landbridge.runtime.{name}" for name in SELDOM.split()}
    assert not (found - imported("import numpy")) & SLOW
    assert "landbridge.runtime.session" in found


def test_loading_imports_the_vendors_of_the_artifact_only(tmp_path: Path) -> None:
    record = extern("double", "atlas0")
    (tmp_path / "a.lbr").write_bytes(to_bytes(artifact(extern_plan(device="atlas0"), [record])))
    code = "from landbridge.runtime import load\ntry:\n    load(sys.argv[1])\nexcept Exception as error:\n    print(type(error).__name__)"
    found = imported(code, tmp_path / "a.lbr")
    assert "DeviceError" in found, "there is no such device here"
    vendors = {name.split(".")[3] for name in found if name.startswith("landbridge.runtime.vendors.")}
    assert "atlas" in vendors
    assert not vendors & {"cambricon", "iree", "litert", "magicmind", "onnxruntime", "openvino", "tensorrt"}


def test_a_name_that_the_runtime_does_not_have() -> None:
    import landbridge.runtime

    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        landbridge.runtime.lode  # noqa: B018 - the access is what fails
