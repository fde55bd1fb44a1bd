"""``landbridge report``: what crosses, what is converted, what is not native, how much memory it takes, and how long a run may take."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landbridge.cli import gates, options
from landbridge.costs import Costs, Prediction, predict
from landbridge.runtime import artifact
from landbridge.runtime.artifact import Artifact
from landbridge.runtime.errors import UsageError


def add(verbs: options.Verbs) -> None:
    """Add the verb."""
    parser = options.verb(
        verbs,
        "report",
        execute,
        summary="print the transfer and memory report of an artifact, or write it as a page",
        example="landbridge report detector.lbr --html detector.html",
        lean=True,
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument("--html", metavar="F.html", help="write a page: the graph, the memory, the tables; it needs no network")
    parser.add_argument("--profile", metavar="TRACE.json", help="show the run that 'landbridge run --profile' traced in the page")
    add_cost(parser)
    gates.add(parser, title="to fail in CI, with exit status 1")


def add_cost(parser: argparse.ArgumentParser) -> None:
    """Add ``--cost``."""
    parser.add_argument(
        "--cost", metavar="COSTS.json", help="predict the latency from the costs that 'landbridge bench --write-costs' wrote"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Do it."""
    limits = gates.Gates.parse(arguments)
    if arguments.html:
        check_name(Path(arguments.html), option="--html", endings=_PAGES)
    if arguments.profile and not arguments.html:
        raise UsageError("--profile: a trace is shown in the page", hint="give --html F.html too")
    found = artifact.read(Path(arguments.artifact))
    told = Told.of(found, Path(arguments.artifact).name, limits, arguments.cost, arguments.profile)
    if arguments.html:
        told.write(Path(arguments.html))
    if not arguments.json:
        print(told.render())
        limits.check(found.report)
    else:
        limits.check(found.report)
        options.say(arguments, "", told.to_json())
    return 0


def check_name(path: Path, *, option: str = "--report", endings: tuple[str, ...] = ()) -> None:
    """Refuse a file whose name does not tell what is to be written.

    Raises:
        UsageError: its ending is none of ``endings``, which are .json and .html by default.
    """
    if path.suffix not in (endings or (".json", *_PAGES)):
        allowed = "in .html" if endings else "in .json or .html"
        raise UsageError(f"{option} '{path}': unknown kind of file '{path.suffix}'", hint=f"end its name {allowed}", code="LB1115")


_PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Told:
    """All that is told of an artifact.

    Attributes:
        artifact: what it is about.
        title: what to call it.
        dims: extents of named dimensions.
        budgets: bytes by device.
        prediction: of a run, where costs are given.
        trace: of a run, where there is one.
    """

    artifact: Artifact
    title: str
    dims: Mapping[str, int] = field(default_factory=dict)
    budgets: Mapping[str, int] = field(default_factory=dict)
    prediction: Prediction | None = None
    trace: Any = None

    @staticmethod
    def of(found: Artifact, title: str, limits: gates.Gates, cost: str | None = None, profile: str | None = None) -> Told:
        """Return it, with what the files of costs and of a profile say.

        Raises:
            UsageError: a file is not what it should be, or an extent is missing.
            OSError: a file cannot be read.
        """
        prediction = predict(found, Costs.load(cost), limits.dims) if cost else None
        trace = None
        if profile:
            try:
                trace = json.loads(Path(profile).read_text(encoding="utf-8"))
            except ValueError as error:
                raise UsageError(f"not a trace: {error}", at=profile, code="LB1119") from error
        return Told(found, title, limits.dims, limits.budgets, prediction, trace)

    def render(self) -> str:
        """Return it as text."""
        parts = [self.artifact.report.render(budgets=self.budgets, dims=self.dims)]
        parts += [self.prediction.render()] if self.prediction else []
        lines = [
            f"{name} has {len(listed)} blobs, of which the first runs that can: {'; '.join(listed)}" for name, listed in self.blobs.items()
        ]
        parts += ["\n".join([*lines, "the figures above are those of the first blobs"])] if lines else []
        return "\n\n".join(parts)

    @property
    def blobs(self) -> dict[str, list[str]]:
        """By offline model that has several blobs, what they are."""
        several = [record for record in self.artifact.externs if record.alternatives]
        return {record.title: [f"{one.title}, {one.vendor} on {one.device}" for one in record.candidates] for record in several}

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            **self.artifact.report.to_json(),
            "budgets": dict(self.budgets),
            "blobs": self.blobs,
            "predicted": self.prediction.to_json() if self.prediction else None,
        }

    def write(self, path: Path) -> None:
        """Write it to a file, as JSON or as a page, by the ending of its name.

        Raises:
            UsageError: the trace is that of another artifact.
            OSError: the file cannot be written.
        """
        from landbridge.page import make_page

        if path.suffix in _PAGES:
            text = make_page(
                self.artifact, title=self.title, extents=self.dims, budgets=self.budgets, trace=self.trace, prediction=self.prediction
            )
        else:
            text = json.dumps(self.to_json(), indent=2) + "\n"
        path.write_text(text, encoding="utf-8")
