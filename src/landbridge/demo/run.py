"""Compile and run the demo: scanned digits through the CPU, an Atlas (simulated) and OpenVINO (real)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import landbridge as lb
from landbridge.demo.data import load_digits
from landbridge.demo.model import BACKBONE, HEAD, digits_model
from landbridge.runtime.errors import UsageError
from landbridge.runtime.report import Report
from landbridge.simulators.ascend.make_om import make_om

GEARS = (1, 2, 4, 8)
"""The batches the backbone is compiled for."""

REQUIRED_ACCURACY = 0.97


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        report: of the compilation.
        plan: how a batch is split over gears.
        images: how many were run.
        correct: how many of them Landbridge read right.
        reference_correct: how many ONNX Runtime read right with the same model, on the CPU alone.
        equal: how many have the same digit from both.
        phases_ns: time spent in each phase of all runs.
        simulated: vendors that a simulator stood in for.
    """

    report: Report
    plan: str
    images: int
    correct: int
    reference_correct: int
    equal: int
    phases_ns: dict[str, int]
    simulated: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Whether every prediction is the reference's, and enough of them are right."""
        return self.equal == self.images and self.correct >= REQUIRED_ACCURACY * self.images

    def render(self) -> str:
        """Return the result as text."""
        total = max(sum(self.phases_ns.values()), 1)
        found, reference = self.correct / self.images, self.reference_correct / self.images
        lines = [self.report.render(), "", self.plan, ""]
        lines.append(f"accuracy on {self.images} test images: Landbridge {found:.2%}, ONNX Runtime {reference:.2%}")
        lines += [f"same prediction on {self.equal} of {self.images} images", "", f"time by phase, all {self.images} images:"]
        lines += [f"  {name:<22}{ns / 1e6:>9.2f} ms {ns / total:>6.1%}" for name, ns in self.phases_ns.items()]
        lines += [
            "",
            f"simulated: {', '.join(self.simulated) or 'nothing'} (its times say nothing about the hardware); real: cpu, openvino",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {**vars(self), "report": self.report.to_json(), "simulated": list(self.simulated), "succeeded": self.succeeded}


def run_demo(*, batch: int, output: str | None, tell: Callable[[str], None], keep: str | None = None) -> DemoResult:
    """Compile the model, run every test image, and compare with ONNX Runtime.

    Args:
        batch: images in one run; a sum of `GEARS`, as every number is.
        output: where to keep the artifact, or None.
        tell: is told what happens, in a line each.
        keep: a folder for everything that the demo is made of, or None: ``digits.onnx``, ``backbone.om``, ``digits.lbr``, and the first
            images as ``images.npz``.

    Raises:
        UsageError: ``batch`` is not positive.
    """
    if batch < 1:
        raise UsageError(f"a batch of {batch} images", hint="give 1 or more")
    digits = load_digits()
    reference = digits_model()
    tell("making the backbone's .om (stands in for the vendor's tool, which is not here)")
    region = lb.split(reference, inputs=BACKBONE[0], outputs=BACKBONE[1])
    backbone = make_om(region, gears=GEARS, name="backbone", input_dtype="float16", output_dtype="float16")
    model = lb.from_onnx(reference, name="digits.onnx")
    offline = lb.ExternModel.from_bytes(backbone, "atlas", name="backbone.om")
    model = lb.replace(model, inputs=BACKBONE[0], outputs=BACKBONE[1], by=offline, device="atlas0")
    tell("compiling the head by OpenVINO's own compiler")
    model = lb.offload(model, "openvino0", inputs=HEAD[0], outputs=HEAD[1])
    tell("placing, verifying, generating code")
    started = time.perf_counter()
    compiled = lb.compile(model)
    tell(f"compiled in {time.perf_counter() - started:.1f} s")
    if keep is not None:
        _keep(Path(keep), reference, backbone, compiled, {"image": digits.test_images[:batch]})
    with tempfile.TemporaryDirectory() as folder:
        path = compiled.save(Path(output or Path(folder) / "digits.lbr"))
        tell(f"running {path.name} ({path.stat().st_size} bytes) on {len(digits.test_images)} images; the Atlas is simulated")
        with lb.load(path, simulate=["atlas"]) as session:
            phases: dict[str, int] = {}
            found = []
            for start in range(0, len(digits.test_images), batch):
                found.append(session.run({"image": digits.test_images[start : start + batch]})["digit"])
                phases = {phase: phases.get(phase, 0) + ns for phase, ns in session.phases().items()}
            plan, simulated = session.plan_text({"n": batch}), tuple(session.simulated)
    digit, expected = np.concatenate(found), _reference(reference, digits.test_images)
    truth = digits.test_labels
    return DemoResult(
        report=compiled.report,
        plan=plan,
        images=len(truth),
        correct=int((digit == truth).sum()),
        reference_correct=int((expected == truth).sum()),
        equal=int((digit == expected).sum()),
        phases_ns=phases,
        simulated=simulated,
    )


def _keep(folder: Path, reference: Any, backbone: bytes, compiled: lb.Compiled, images: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "digits.onnx").write_bytes(reference.SerializeToString(deterministic=True))
    (folder / "backbone.om").write_bytes(backbone)
    np.savez(folder / "images.npz", **images)
    compiled.save(folder / "digits.lbr")


def _reference(model: Any, images: Any) -> Any:
    """Return the digits that ONNX Runtime finds with the whole model on the CPU."""
    import onnxruntime  # noqa: PLC0415 - only the comparison needs it

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["digit"], {"image": images})[0]
