"""Show where the time of a model goes: milliseconds of each kernel of its host segments, with the shapes that it is called on.

    python benchmarks/kernels.py model.onnx [--threads N] [--top N]

For compiler engineers. The model is compiled as ever, but for a clock around each kernel; inputs are random.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np

import landbridge as lb
from landbridge.codegen.link import link_library

RUNS = 20
_TIMES = "LANDBRIDGE_KERNEL_TIMES"

_CLOCK = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef CLOCK
#define CLOCK CLOCK_THREAD_CPUTIME_ID /* of the caller: what other processes do does not matter, as long as there is one thread */
#endif

static FILE *times;

__attribute__((constructor)) static void open_times(void) {
  const char *path = getenv("LANDBRIDGE_KERNEL_TIMES");
  if (path != NULL) times = fopen(path, "w");
}

__attribute__((destructor)) static void close_times(void) {
  if (times != NULL) fclose(times);
}

static int lb_run_timed(const LbSegment *segment, void **buffers, const int64_t *extents, const int64_t *scalars) {
  for (int32_t i = 0; i < segment->num_steps; ++i) {
    LbSegment one = *segment;
    one.steps = &segment->steps[i];
    one.num_steps = 1;
    struct timespec start, end;
    clock_gettime(CLOCK, &start);
    int code = lb_run(&one, buffers, extents, scalars);
    clock_gettime(CLOCK, &end);
    if (code != 0) return code;
    if (times == NULL) continue;
    fprintf(times, "%.6f\\t%s\\t", (end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) * 1e-6, one.steps->name);
    for (int32_t k = 0; k < one.steps->count; ++k) {
      int32_t index = segment->arguments[one.steps->first + k];
      if (index < 0) continue;
      const LbTensor *tensor = &segment->tensors[index];
      fprintf(times, k == 0 ? "" : " ");
      for (int32_t d = 0; d < tensor->ndim; ++d) fprintf(times, "%s%lld", d == 0 ? "" : "x", (long long)extents[tensor->shape + d]);
    }
    fprintf(times, "\\n");
  }
  if (times != NULL) fprintf(times, "end\\n");
  return 0;
}
"""


def timed(objects: Sequence[bytes], segments: str, target: Any) -> bytes:
    """Return the host library with a clock around each kernel."""
    head, tail = segments.split("\n", 1)
    return link_library(objects, head + _CLOCK + tail.replace("return lb_run(", "return lb_run_timed("), target)


def _run(artifact: str) -> None:
    session = lb.load(artifact)
    random = np.random.default_rng(0)
    feeds = {
        info.name: random.random([size if isinstance(size, int) else 1 for size in info.shape]).astype(info.dtype)
        for info in session.inputs
    }
    for _ in range(RUNS):
        session.run(feeds)


def main() -> None:
    """Compile, run in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--target")
    arguments = parser.parse_args()
    if arguments.model.endswith(".lbr"):
        _run(arguments.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        artifact, times = f"{folder}/model.lbr", Path(folder, "times")
        with mock.patch("landbridge.codegen.build.link_library", timed):
            lb.compile(lb.from_onnx(arguments.model), target=arguments.target).save(artifact)
        environment = {**os.environ, "LANDBRIDGE_NUM_THREADS": str(arguments.threads), _TIMES: str(times)}
        subprocess.run([sys.executable, __file__, artifact], env=environment, check=True)
        lines = times.read_text().splitlines()
    found: dict[tuple[int, str], list[float]] = defaultdict(list)
    position = 0
    for line in lines:
        if line == "end":
            position = 0
            continue
        milliseconds, rest = line.split("\t", 1)
        found[position, rest.replace("\t", "  ")].append(float(milliseconds))
        position += 1
    medians = {key: median(values[1:]) for key, values in found.items()}
    print(f"{sum(medians.values()):9.3f} ms in {len(medians)} kernels, {arguments.threads} threads")
    for (number, text), milliseconds in sorted(medians.items(), key=lambda item: -item[1])[: arguments.top]:
        print(f"{milliseconds:9.3f} ms  {number:4d}  {text}")


if __name__ == "__main__":
    main()
