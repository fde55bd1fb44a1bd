"""``landbridge doctor``: what is here of each vendor, and what keeps an artifact from running."""

from __future__ import annotations

import argparse
import os

from landbridge.cli import options
from landbridge.runtime.diagnosis import Diagnosis
from landbridge.runtime.doctor import EXIT_CODES, Checkup, check_up
from landbridge.runtime.session import SIMULATE


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "doctor",
        execute,
        summary="list devices, libraries, versions and free memory; with an artifact, everything that keeps it from running",
        example="landbridge doctor --simulate atlas",
        lean=True,
    )
    codes = ", ".join(f"{code} {kind}" for kind, code in EXIT_CODES.items())
    parser.add_argument("artifact", metavar="ARTIFACT", nargs="?", help=f"exit status: 0 it runs here; by what is wrong: {codes}")
    options.add_simulate(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    told = (*options.simulated(arguments), *os.environ.get(SIMULATE, "").split(","))
    found = check_up(arguments.artifact, simulate=tuple(dict.fromkeys(name.strip() for name in told if name.strip())))
    options.say(arguments, _render(found, arguments.artifact), found.to_json())
    return found.exit_code


def _render(found: Checkup, artifact: str | None) -> str:
    lines = [line for diagnosis in found.vendors for line in _vendor_lines(diagnosis)]
    if artifact is not None:
        lines += ["", f"{artifact}: {_verdict(found)}"]
        lines += [f"  fine: {model}" for model in found.models]
        for one in found.passed_over:
            lines += [f"  passed over: {one.name} on {one.device}: {one.text}", *([f"    fix: {one.fix}"] if one.fix else [])]
        for problem in found.problems:
            lines.append(f"  {problem.kind}: {problem.at}: {problem.text}")
            lines += [f"    fix: {problem.fix}"] if problem.fix else []
    return "\n".join(lines)


def _verdict(found: Checkup) -> str:
    if not found.problems:
        return "runs here"
    return f"does not run here, {len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}"


def _vendor_lines(diagnosis: Diagnosis) -> list[str]:
    lines = [diagnosis.vendor]
    lines += [f"  {software.name} {software.version}".rstrip() + f" in {software.path}" for software in diagnosis.software]
    for device in diagnosis.devices:
        facts = [f"{key} {text}" for key, text in device.versions.items()]
        facts += [f"{device.free_nbytes} bytes free"] if device.free_nbytes is not None else []
        lines.append(f"  {device.name}{' (simulated)' if device.simulated else ''}" + (f": {', '.join(facts)}" if facts else ""))
    if diagnosis.problem:
        lines.append(f"  no device: {diagnosis.problem}")
        lines += [f"    fix: {diagnosis.fix}"] if diagnosis.fix else []
    return lines
