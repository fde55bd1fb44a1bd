"""Compare host code: ``make bench`` runs this. Writes a page, the figures as JSON, and the tables of ``docs/performance.md``.

Each case is compiled once, with nothing in the cache, and measured on one and on two threads in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import landbridge as lb
from host import measure, page, roofline, summary
from host.entries import Entry, entries
from host.memory import MOST, memory_of
from host.results import Results, Row, describe_machine
from host.work import work_of
from landbridge.runtime.cache_folder import CACHE

ROUNDS = 15

_MOST_S = 120
"""A case that takes longer on some threads is given up."""


def main(arguments: list[str]) -> int:
    """Measure, print, write; return 1 where Landbridge did not run a case, or planned too much memory for one."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default="", help="keep what has this in its name or group")
    parser.add_argument("--threads", type=int, nargs="*", help="keep these numbers of threads")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="the folder of the page and the figures")
    parser.add_argument("--summary", type=Path, help="put the tables into this page")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "ARTIFACT"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measure:
        name, artifact = given.measure
        case = next(entry for entry in entries() if entry.name == name).make()
        print(json.dumps(measure.compare(case, Path(artifact), given.threads[0], given.rounds)))
        return 0
    chosen = [entry for entry in entries() if given.only in f"{entry.group} {entry.name}"]
    results = compare(chosen, given.threads, given.rounds, tell)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "bench.json").write_text(results.to_json(), encoding="utf-8")
    (given.output / "bench.html").write_text(page.page(results), encoding="utf-8")
    text = summary.markdown(results)
    if given.summary:
        summary.put(given.summary, text)
    print(text)
    tell(f"written: {given.output / 'bench.html'}, {given.output / 'bench.json'}{f', {given.summary}' if given.summary else ''}")
    if results.wasteful:
        tell(f"more memory than {MOST} times what lives: {', '.join(results.wasteful)}")
    return 1 if results.refused or results.wasteful else 0


def tell(line: str) -> None:
    """Print what is going on, beside the results."""
    print(line, file=sys.stderr, flush=True)


def compare(chosen: list[Entry], threads: list[int] | None, rounds: int, tell: Callable[[str], None]) -> Results:
    """Return what was measured; ``tell`` hears of each step."""
    tell("what this machine can do at best")
    wanted = sorted({count for entry in chosen for count in entry.threads if not threads or count in threads})
    machines = {count: roofline.measure(count) for count in wanted}
    rows: list[Row] = []
    refused: dict[str, str] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ[CACHE] = str(Path(temporary) / "cache")
        for number, entry in enumerate(chosen):
            left = f", {(time.monotonic() - started) / number * (len(chosen) - number) / 60:.0f} min left" if number > 1 else ""
            tell(f"[{number + 1}/{len(chosen)}{left}] {entry.group}: {entry.name}")
            try:
                rows += _rows(entry, [count for count in entry.threads if count in machines], rounds, machines, Path(temporary))
            except Exception as error:  # the other cases are measured all the same
                refused[entry.name] = f"{type(error).__name__}: {error}"
                tell(f"  not run: {refused[entry.name]}")
                continue
            for row in rows[-len(entry.threads) :]:
                if row.name == entry.name:
                    tell("  " + _line(row))
    speeds = {count: machine.to_json() for count, machine in machines.items()}
    return Results(tuple(rows), describe_machine(), speeds, refused)


class _Failed(Exception):
    """The process that measures has ended without a result."""


def _rows(entry: Entry, threads: list[int], rounds: int, machines: dict[int, roofline.Machine], folder: Path) -> list[Row]:
    case = entry.make()
    started = time.perf_counter()
    compiled = lb.compile(lb.from_onnx(case.model))
    elapsed = time.perf_counter() - started
    artifact = folder / "case.lbr"
    compiled.save(artifact)
    work = work_of(case.model, case.feeds)
    memory = memory_of(compiled.artifact, case.feeds)
    rows = []
    for count in threads:
        found = _measured(entry.name, artifact, count, rounds)
        machine = machines[count]
        figures = (work.flops, work.nbytes, machine.least_ms(work), machine.bound(work))
        measured = (found["times"], found["stolen"], found["missing"], found["difference"])
        rows.append(Row(entry.name, entry.group, count, *measured, elapsed, *figures, memory))
    return rows


def _measured(name: str, artifact: Path, threads: int, rounds: int) -> dict[str, Any]:
    counts = dict.fromkeys(("LANDBRIDGE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    command = [sys.executable, "-m", "host", "--measure", name, str(artifact), "--threads", str(threads), "--rounds", str(rounds)]
    try:
        done = subprocess.run(command, env={**os.environ, **counts}, capture_output=True, text=True, timeout=_MOST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise _Failed(f"on {threads} threads: more than {_MOST_S} s") from error
    if done.returncode != 0:
        raise _Failed(f"on {threads} threads: {(done.stderr.strip().splitlines() or [f'status {done.returncode}'])[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _line(row: Row) -> str:
    times = ", ".join(f"{who} {found['median']:.3f}" for who, found in row.times.items())
    ratio = "" if row.ratio is None else f"; {row.ratio:.2f} of the faster peer"
    return f"{row.threads} threads: {times} ms{ratio}; at best {row.least_ms:.3f}; others took {row.stolen:.1%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
