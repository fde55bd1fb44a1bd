"""The same input gives the same artifact, in any process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import landbridge

PROGRAM = """
import hashlib, landbridge as lb
from landbridge.demo.model import BACKBONE, digits_model
from landbridge.simulators.ascend.make_om import make_om
reference = digits_model()
blob = make_om(lb.split(reference, inputs=BACKBONE[0], outputs=BACKBONE[1]), gears=(1, 2, 4), input_dtype="float16")
model = lb.replace(lb.from_onnx(reference, name="digits"), inputs=BACKBONE[0], outputs=BACKBONE[1], by=lb.ExternModel.from_bytes(blob))
data = lb.compile(model, "llvm -mcpu=x86-64-v2" if __import__("platform").machine() == "x86_64" else None).to_bytes()
print(hashlib.sha256(data).hexdigest(), len(data))
"""


def test_two_processes_with_different_hash_seeds_write_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for seed in ("1", "2"):
        environment = {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(Path(landbridge.__file__).parents[1]),
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        }
        done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=environment, cwd=tmp_path, capture_output=True, text=True)
        digest, size = done.stdout.split()
        assert len(digest) == len(hashlib.sha256().hexdigest())
        assert int(size) > 1000
        found.append(digest)
    assert found[0] == found[1]
