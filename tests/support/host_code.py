"""A host library written by hand in C, with the interface that codegen gives one, for tests of the runtime."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = """
#include <stdint.h>
#include <string.h>
#include <time.h>
static __thread const char *text = "";
const char *lb_error(void) { return text; }

/* y[n,3] = x[n,3] + w[3]; every address must be aligned to 64 bytes */
int lb_add(void **b, const int64_t *d) {
  const float *x = b[0], *w = b[1]; float *y = b[2];
  if (((uintptr_t)x | (uintptr_t)w | (uintptr_t)y) % 64) { text = "unaligned buffer"; return 1; }
  for (int64_t i = 0; i < d[0] * 3; i++) y[i] = x[i] + w[i % 3];
  return 0;
}

/* y[n,3] = 2 * x[n,3] */
int lb_double(void **b, const int64_t *d) {
  const float *x = b[0]; float *y = b[1];
  if (((uintptr_t)x | (uintptr_t)y) % 64) { text = "unaligned buffer"; return 1; }
  for (int64_t i = 0; i < d[0] * 3; i++) y[i] = 2 * x[i];
  return 0;
}

/* y = x, for bytes: n of them */
int lb_copy(void **b, const int64_t *d) { memcpy(b[1], b[0], d[0]); return 0; }

/* y = x, for float32 [n,3], after 20 ms of sleep */
int lb_nap(void **b, const int64_t *d) {
  struct timespec t = {0, 20000000};
  nanosleep(&t, 0);
  memcpy(b[1], b[0], d[0] * 12);
  return 0;
}

/* y = x, for float32 [n,3], after about a millisecond of work */
int lb_work(void **b, const int64_t *d) {
  volatile uint64_t sum = 0;
  for (uint64_t i = 0; i < 600000; i++) sum += i;
  memcpy(b[1], b[0], d[0] * 12);
  return 0;
}

/* fails where the first element is negative */
int lb_check(void **b, const int64_t *d) {
  const float *x = b[0]; float *y = b[1];
  if (x[0] < 0) { text = "a negative value"; return 7; }
  text = "";
  memcpy(y, x, d[0] * 12);
  return 0;
}
"""


def compile_c(source: str) -> bytes:
    """Return the shared library that the C compiler makes of ``source``."""
    with TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "host.c").write_text(source)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path / "host.so", path / "host.c"], check=True)
        return (path / "host.so").read_bytes()


@cache
def host_library() -> bytes:
    """Return the library of `SOURCE`."""
    return compile_c(SOURCE)
