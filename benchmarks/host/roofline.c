/* What this processor can do at best: multiply and add in registers, and copy. Each call is one thread's. */
#include <stddef.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float Vector __attribute__((vector_size(4 * LANES)));

enum { CHAINS = 12 }; /* more than two units of a latency of five keep busy, and fewer than there are registers */

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

/* Return the multiplications and additions of float32 a second, at best of many tries in so many seconds. */
double lb_flops(double seconds) {
  volatile float seed = 0.5f;
  Vector factor = seed + (Vector){0}, term = seed + (Vector){0}, sums[CHAINS];
  for (int i = 0; i < CHAINS; ++i) sums[i] = (float)i + (Vector){0};
  double best = 0;
  enum { TIMES = 20000 };
  for (double until = now() + seconds; now() < until;) {
    double started = now();
    for (int times = 0; times < TIMES; ++times) {
#pragma GCC unroll 12
      for (int i = 0; i < CHAINS; ++i) sums[i] = sums[i] * factor + term;
    }
    double rate = 2.0 * LANES * CHAINS * TIMES / (now() - started);
    if (rate > best) best = rate;
  }
  volatile float kept = 0;
  for (int i = 0; i < CHAINS; ++i) kept += sums[i][0];
  (void)kept;
  return best;
}

/* Return the bytes a second that are read and written when `nbytes` are copied, at best of many tries. */
double lb_copy(char *to, const char *from, size_t nbytes, double seconds) {
  double best = 0;
  size_t times = nbytes < (1 << 22) ? (1 << 22) / nbytes : 1;
  for (double until = now() + seconds; now() < until;) {
    double started = now();
    for (size_t i = 0; i < times; ++i) {
      memcpy(to, from, nbytes);
      __asm__ volatile("" ::: "memory");
    }
    double rate = 2.0 * times * nbytes / (now() - started);
    if (rate > best) best = rate;
  }
  return best;
}
