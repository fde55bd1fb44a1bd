/* The runtime that kernels expect, without TVM's: error text, workspace, parallel loops (on the threads of threads.c).
 *
 * Kernels reach it through four function pointers (TVM defines them weak and null; these definitions win) and one function.
 */
#define _GNU_SOURCE
#include "support.h"
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- error text ---------------------------------------------------------------------------------------------------------- */

enum { ERROR_SIZE = 2048 };

static _Thread_local char error_text[ERROR_SIZE];

LB_EXPORT const char *lb_error(void) { return error_text; }

/* What the addresses of buffers are multiples of: `ALIGNMENT` of landbridge.codegen.compile_kernels. */
LB_EXPORT const int32_t lb_alignment = 16;

static void append(const char *text) {
  size_t used = strlen(error_text);
  if (text != NULL) snprintf(error_text + used, ERROR_SIZE - used, "%s", text);
}

/* Kernels report a failed check with this; `parts` are joined. */
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t num_parts) {
  error_text[0] = '\0';
  append(kind);
  append(": ");
  for (int32_t i = 0; i < num_parts; ++i) append(parts[i]);
}

/* ---- workspace ----------------------------------------------------------------------------------------------------------- */

/* Each thread keeps the last few blocks it freed: a fresh block of a megabyte costs more in page faults than most kernels. */
enum { KEPT = 8, ALIGNMENT = 64 };

/* What is in front of a block. */
typedef struct Block {
  _Alignas(ALIGNMENT) size_t size; /* of both */
  struct Block *older, *newer;     /* of those in use on this thread */
} Block;

typedef struct {
  Block *kept[KEPT];
  int next; /* the one to replace when all are in use */
} Cache;

static _Thread_local Block *newest; /* in use on this thread */

static pthread_key_t cache_key;
static int has_cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

static void free_cache(void *pointer) {
  Cache *cache = pointer;
  for (int i = 0; i < KEPT; ++i) free(cache->kept[i]);
  free(cache);
}

static void make_cache_key(void) { has_cache_key = pthread_key_create(&cache_key, free_cache) == 0; }

/* NULL where there is no memory for one: then nothing is kept. */
static Cache *cache_of_thread(void) {
  pthread_once(&cache_once, make_cache_key);
  if (!has_cache_key) return NULL;
  Cache *cache = pthread_getspecific(cache_key);
  if (cache == NULL) {
    cache = calloc(1, sizeof(Cache));
    if (cache != NULL && pthread_setspecific(cache_key, cache) != 0) {
      free(cache);
      cache = NULL;
    }
  }
  return cache;
}

static void *use(Block *block) {
  block->older = newest;
  block->newer = NULL;
  if (newest != NULL) newest->newer = block;
  newest = block;
  return block + 1;
}

static void *allocate(int device_type, int device_id, uint64_t nbytes, int dtype_code, int dtype_bits) {
  (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
  if (nbytes > (uint64_t)INT64_MAX - 4 * ALIGNMENT) return NULL;
  size_t size = (size_t)(nbytes + sizeof(Block) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  Cache *cache = cache_of_thread();
  for (int i = 0; cache != NULL && i < KEPT; ++i) {
    Block *block = cache->kept[i];
    if (block != NULL && block->size >= size && block->size / 2 <= size) {
      cache->kept[i] = NULL;
      return use(block);
    }
  }
  void *data = NULL;
  if (posix_memalign(&data, ALIGNMENT, size) != 0) {
    snprintf(error_text, ERROR_SIZE, "MemoryError: no %llu bytes of workspace", (unsigned long long)nbytes);
    return NULL;
  }
  Block *block = data;
  block->size = size;
  return use(block);
}

static int release(int device_type, int device_id, void *pointer) {
  (void)device_type, (void)device_id;
  if (pointer == NULL) return 0;
  Block *block = (Block *)pointer - 1;
  if (block->older != NULL) block->older->newer = block->newer;
  *(block->newer != NULL ? &block->newer->older : &newest) = block->older;
  Cache *cache = cache_of_thread();
  if (cache == NULL) {
    free(block);
    return 0;
  }
  int slot = cache->next;
  for (int i = 0; i < KEPT; ++i) {
    if (cache->kept[i] == NULL) slot = i;
  }
  if (cache->kept[slot] != NULL) {
    free(cache->kept[slot]);
    cache->next = (slot + 1) % KEPT;
  }
  cache->kept[slot] = block;
  return 0;
}

/* A kernel that fails releases nothing: give back what this thread has come to use since `before` was the newest. */
static void release_since(const Block *before) {
  while (newest != before) release(1, 0, newest + 1);
}

/* ---- segments ------------------------------------------------------------------------------------------------------------ */

static int run_step(const LbSegment *segment, const LbStep *step, DLTensor *tensors, const int64_t *scalars) {
  LbAny arguments[step->count + 1]; /* never empty */
  for (int32_t i = 0; i < step->count; ++i) {
    int32_t index = segment->arguments[step->first + i];
    arguments[i].zero = 0;
    if (index >= 0) {
      arguments[i].type_index = LB_TENSOR;
      arguments[i].v_ptr = &tensors[index];
    } else {
      arguments[i].type_index = LB_INT;
      arguments[i].v_int = scalars[-1 - index];
    }
  }
  LbAny result = {0, 0, {0}};
  return step->kernel(NULL, arguments, step->count, &result);
}

static int run_steps(const LbSegment *segment, void **buffers, const int64_t *extents, const int64_t *scalars) {
  DLTensor tensors[segment->num_tensors];
  for (int32_t i = 0; i < segment->num_tensors; ++i) {
    const LbTensor *tensor = &segment->tensors[i];
    int64_t *shape = (int64_t *)(extents + tensor->shape); /* kernels only read it */
    tensors[i] = (DLTensor){buffers[i], {1, 0}, tensor->ndim, tensor->dtype, shape, NULL, 0};
  }
  for (int32_t i = 0; i < segment->num_steps; ++i) {
    const LbStep *step = &segment->steps[i];
    error_text[0] = '\0';
    const Block *before = newest;
    int code = run_step(segment, step, tensors, scalars);
    if (code != 0) {
      release_since(before);
      if (error_text[0] == '\0') snprintf(error_text, ERROR_SIZE, "%s failed with code %d", step->name, code);
      return code;
    }
  }
  return 0;
}

static _Thread_local int limit; /* of threads, in lb_limited; 0 is none */

int lb_run(const LbSegment *segment, void **buffers, const int64_t *extents, const int64_t *scalars) {
  const LbPool *threads = lb_threads();
  threads->enter(limit);
  int code = run_steps(segment, buffers, extents, scalars);
  threads->leave();
  return code;
}

/* Call a segment, of whose threads there may be at most so many. */
LB_EXPORT int lb_limited(int most, LbSegmentFunction *segment, void **buffers, const int64_t *dims) {
  limit = most;
  int code = segment(buffers, dims);
  limit = 0;
  return code;
}

/* ---- parallel loops ------------------------------------------------------------------------------------------------------ */

typedef struct {
  void *sync;
  int32_t num_task;
} ParallelEnv;

typedef int ParallelTask(int task, ParallelEnv *env, void *data);

/* A loop of this library while it runs: errors are told by the library whose kernel it is, whoever's threads run it. */
typedef struct {
  ParallelTask *task;
  void *data;
  atomic_int code;
  char text[ERROR_SIZE]; /* of the task that failed first, written by it alone */
} Loop;

static void run_task(int index, int count, void *context) {
  Loop *loop = context;
  ParallelEnv env = {NULL, count};
  const Block *before = newest;
  int code = loop->task(index, &env, loop->data);
  if (code != 0) release_since(before);
  int fine = 0;
  if (code != 0 && atomic_compare_exchange_strong(&loop->code, &fine, code)) memcpy(loop->text, error_text, ERROR_SIZE);
}

static int launch(ParallelTask *task, void *data, int num_task) {
  Loop loop;
  loop.task = task;
  loop.data = data;
  atomic_init(&loop.code, 0);
  lb_threads()->launch(run_task, &loop, num_task);
  int code = atomic_load(&loop.code);
  if (code != 0) memcpy(error_text, loop.text, ERROR_SIZE);
  return code;
}

/* Tasks may run one after the other: they cannot wait for each other. */
static int barrier(int task, ParallelEnv *env) {
  (void)task;
  if (env->num_task == 1) return 0;
  snprintf(error_text, ERROR_SIZE, "RuntimeError: parallel tasks cannot wait for each other here");
  return -1;
}

int (*__TVMBackendParallelLaunch)(ParallelTask *, void *, int) = launch;
int (*__TVMBackendParallelBarrier)(int, ParallelEnv *) = barrier;
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = release;
