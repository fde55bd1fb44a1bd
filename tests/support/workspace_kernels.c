/* y[4,3] = 2 * x[4,3] by kernels that want workspace as compiled ones do: several blocks, of which a failing kernel releases none. */
#include "support.h"

#include <stddef.h>

typedef struct {
  void *sync;
  int32_t num_task;
} ParallelEnv;

extern void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
extern int (*__TVMBackendFreeWorkspace)(int, int, void *);
extern int (*__TVMBackendParallelLaunch)(int (*)(int, ParallelEnv *, void *), void *, int);

enum { BLOCKS = 3, COUNT = 12 };

static int with_workspace(void) {
  void *blocks[BLOCKS];
  for (int i = 0; i < BLOCKS; ++i) {
    blocks[i] = __TVMBackendAllocWorkspace(1, 0, 1000 << 3 * i, 2, 32);
    if (blocks[i] == NULL) return -1;
  }
  for (int i = BLOCKS; i-- > 0;) __TVMBackendFreeWorkspace(1, 0, blocks[i]);
  return 0;
}

static int task(int index, ParallelEnv *env, void *data) {
  (void)index, (void)env, (void)data;
  return with_workspace();
}

/* On the caller's thread with a block in use, and on as many threads as there are. */
static int twice(void *self, const LbAny *arguments, int32_t count, LbAny *result) {
  (void)self, (void)count, (void)result;
  void *kept = __TVMBackendAllocWorkspace(1, 0, 100000, 2, 32);
  if (kept == NULL || with_workspace() != 0 || __TVMBackendParallelLaunch(task, NULL, 0) != 0) return -1;
  const float *x = ((DLTensor *)arguments[0].v_ptr)->data;
  float *y = ((DLTensor *)arguments[1].v_ptr)->data;
  for (int i = 0; i < COUNT; ++i) y[i] = 2 * x[i];
  return __TVMBackendFreeWorkspace(1, 0, kept);
}

LB_EXPORT int lb_segment_0(void **buffers, const int64_t *dims) {
  (void)dims;
  static const int64_t extents[] = {4, 3};
  static const LbTensor tensors[] = {{2, {2, 32, 1}, 0}, {2, {2, 32, 1}, 0}};
  static const LbStep steps[] = {{twice, "twice", 0, 2}};
  static const int32_t arguments[] = {0, 1};
  static const LbSegment segment = {tensors, 2, steps, 1, arguments};
  return lb_run(&segment, buffers, extents, NULL);
}
