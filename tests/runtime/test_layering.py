from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import landbridge

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "landbridge"

FLOORS = {"runtime": {"runtime"}, "ir": {"runtime", "ir"}, "passes": {"runtime", "ir", "passes"}, "codegen": {"runtime", "ir", "codegen"}}
"""Which floors of the house each floor may import; everything else is the front door, which may import all."""

VENDOR_PACKAGES = {
    "openvino": {"openvino"},
    "onnxruntime": {"onnxruntime", "onnx", "ml_dtypes"},
    "litert": {"ai_edge_litert"},
    "iree": {"iree"},
    "tensorrt": {"tensorrt", "tensorrt_lean"},
}
"""What the folder of a vendor may import besides the standard library and NumPy."""

EXTRA_PACKAGES = {"ed25519.py": {"cryptography"}}
"""What other files may import when it is needed."""


def sources(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if ".venv" not in path.parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of every import, wherever in the file it is; ``import_module`` of a literal too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and isinstance(node.args[0], ast.Constant):
            yield node.lineno, str(node.args[0].value)


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_point_one_way(floor: str) -> None:
    wrong = []
    for path in sources(floor):
        for line, name in imports(path):
            parts = name.split(".")
            if parts[0] in FLOORS:
                wrong.append(f"{path}:{line}: import landbridge.{name}")
            if parts[0] == "landbridge" and parts[1] not in FLOORS[floor]:
                wrong.append(f"{path}:{line}: {floor} imports {name}")
    assert wrong == []
    assert sources(floor), "an empty floor"


def test_the_runtime_needs_the_standard_library_and_numpy() -> None:
    wrong = []
    for path in sources("runtime"):
        parts = path.relative_to(ROOT / "runtime").parts
        own = VENDOR_PACKAGES.get(parts[1], set()) if parts[0] == "vendors" else EXTRA_PACKAGES.get(parts[0], set())
        for line, name in imports(path):
            top = name.split(".")[0]
            if top not in {*sys.stdlib_module_names, "numpy", "landbridge", *own}:
                wrong.append(f"{path}:{line}: {name}")
    assert wrong == []


def test_the_walk_finds_what_it_looks_for(tmp_path: Path) -> None:
    source = (
        "def f():\n    import tvm\n    from landbridge.ir import body\n    from importlib import import_module\n    import_module('onnx')\n"
    )
    (tmp_path / "a.py").write_text(source)
    assert list(imports(tmp_path / "a.py")) == [(2, "tvm"), (3, "landbridge.ir.body"), (4, "importlib.import_module"), (5, "onnx")]


def test_importing_the_runtime_loads_no_compiler() -> None:
    code = "import sys; from landbridge.runtime import load; print(sorted({name.split('.')[0] for name in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")})
    loaded = set(ast.literal_eval(result.stdout))
    assert {"landbridge", "numpy"} <= loaded
    assert not loaded & {"tvm", "tvm_ffi", "onnx", "networkx", "openvino", "onnxruntime", "ml_dtypes", "scipy", "torch", "cryptography"}


def test_the_package_under_test_is_in_this_checkout() -> None:
    assert Path(landbridge.__file__).resolve() == (PACKAGE / "__init__.py").resolve()
    for floor in FLOORS:
        assert (PACKAGE / floor).is_symlink()
        assert (PACKAGE / floor).resolve() == ROOT / floor
