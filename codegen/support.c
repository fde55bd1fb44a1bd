/* The runtime that kernels expect, without TVM's: error text, workspace, threads.
 *
 * Kernels reach it through four function pointers (TVM defines them weak and null; these definitions win) and one function.
 * Everything is per library; nothing is started before a kernel asks for threads.
 */
#define _GNU_SOURCE
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- error text ---------------------------------------------------------------------------------------------------------- */

enum { ERROR_SIZE = 2048 };

static _Thread_local char error_text[ERROR_SIZE];

LB_EXPORT const char *lb_error(void) { return error_text; }

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

int lb_run(const LbSegment *segment, void **buffers, const int64_t *extents, const int64_t *scalars) {
  DLTensor tensors[segment->num_tensors];
  for (int32_t i = 0; i < segment->num_tensors; ++i) {
    const LbTensor *tensor = &segment->tensors[i];
    int64_t *shape = (int64_t *)(extents + tensor->shape); /* kernels only read it */
    tensors[i] = (DLTensor){buffers[i], {1, 0}, tensor->ndim, tensor->dtype, shape, NULL, 0};
  }
  for (int32_t i = 0; i < segment->num_steps; ++i) {
    const LbStep *step = &segment->steps[i];
    error_text[0] = '\0';
    int code = run_step(segment, step, tensors, scalars);
    if (code != 0) {
      if (error_text[0] == '\0') snprintf(error_text, ERROR_SIZE, "%s failed with code %d", step->name, code);
      return code;
    }
  }
  return 0;
}

/* ---- workspace ----------------------------------------------------------------------------------------------------------- */

/* Each thread keeps the last few blocks it freed: a fresh block of a megabyte costs more in page faults than most kernels. */
enum { KEPT = 8, ALIGNMENT = 64 };

typedef struct {
  void *data;
  size_t size;
} Block;

typedef struct {
  Block kept[KEPT];
  int next; /* the one to replace when all are in use */
} Cache;

static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

static void free_cache(void *pointer) {
  Cache *cache = pointer;
  for (int i = 0; i < KEPT; ++i) free(cache->kept[i].data);
  free(cache);
}

static void make_cache_key(void) { pthread_key_create(&cache_key, free_cache); }

static Cache *cache_of_thread(void) {
  pthread_once(&cache_once, make_cache_key);
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

/* The size of a block is kept in front of it. */
static void *allocate(int device_type, int device_id, uint64_t nbytes, int dtype_code, int dtype_bits) {
  (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
  if (nbytes > (uint64_t)INT64_MAX - 4 * ALIGNMENT) return NULL;
  size_t size = (size_t)(nbytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  Cache *cache = cache_of_thread();
  for (int i = 0; cache != NULL && i < KEPT; ++i) {
    Block block = cache->kept[i];
    if (block.data != NULL && block.size >= size && block.size / 2 <= size) {
      cache->kept[i].data = NULL;
      return (char *)block.data + ALIGNMENT;
    }
  }
  void *data = NULL;
  if (posix_memalign(&data, ALIGNMENT, size) != 0) {
    snprintf(error_text, ERROR_SIZE, "MemoryError: no %llu bytes of workspace", (unsigned long long)nbytes);
    return NULL;
  }
  *(size_t *)data = size;
  return (char *)data + ALIGNMENT;
}

static int release(int device_type, int device_id, void *pointer) {
  (void)device_type, (void)device_id;
  if (pointer == NULL) return 0;
  void *data = (char *)pointer - ALIGNMENT;
  Cache *cache = cache_of_thread();
  if (cache == NULL) {
    free(data);
    return 0;
  }
  int slot = cache->next;
  for (int i = 0; i < KEPT; ++i) {
    if (cache->kept[i].data == NULL) slot = i;
  }
  if (cache->kept[slot].data != NULL) {
    free(cache->kept[slot].data);
    cache->next = (slot + 1) % KEPT;
  }
  cache->kept[slot] = (Block){data, *(size_t *)data};
  return 0;
}

/* ---- threads ------------------------------------------------------------------------------------------------------------- */

typedef struct {
  void *sync;
  int32_t num_task;
} ParallelEnv;

typedef int ParallelTask(int task, ParallelEnv *env, void *data);

enum { MAX_THREADS = 256, SPINS = 4000 };

/* One launch at a time uses the workers; a second caller does its work alone meanwhile. Tasks are claimed one by one, by the caller
 * too: a worker that the system does not let run in time costs nothing, for its task is done by another.
 */
static struct {
  pthread_mutex_t owner; /* held by the launch that uses the workers */
  pthread_mutex_t lock;  /* guards sleeping and waking */
  pthread_cond_t wake;
  atomic_uint generation; /* counts launches; workers look for tasks when it changes */
  _Atomic uint64_t tickets; /* generation, tasks, next task in one word: a late worker claims nothing of a later launch */
  atomic_int pending;       /* tasks that have not finished */
  ParallelTask *task;
  ParallelEnv env;
  void *data;
  atomic_int code;
  char text[ERROR_SIZE]; /* of the task that failed first, written by it alone */
  int threads;           /* workers and the caller; 0 before the first launch */
} pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static _Thread_local int inside_task; /* a parallel loop inside a parallel loop runs serially */

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void run_task(int index) {
  inside_task = 1;
  int code = pool.task(index, &pool.env, pool.data);
  inside_task = 0;
  int fine = 0;
  if (code != 0 && atomic_compare_exchange_strong(&pool.code, &fine, code)) memcpy(pool.text, error_text, ERROR_SIZE);
}

static uint64_t tickets_of(unsigned generation, int tasks) { return (uint64_t)generation << 32 | (uint64_t)tasks << 16; }

/* Run tasks of this launch until none is left to claim. */
static void run_tasks(unsigned generation) {
  uint64_t found = atomic_load_explicit(&pool.tickets, memory_order_acquire);
  while (found >> 32 == generation && (found & 0xffff) < (found >> 16 & 0xffff)) {
    if (!atomic_compare_exchange_weak(&pool.tickets, &found, found + 1)) continue;
    run_task((int)(found & 0xffff)); /* the launch waits for it: what it reads stays */
    atomic_fetch_sub_explicit(&pool.pending, 1, memory_order_release);
    found = atomic_load_explicit(&pool.tickets, memory_order_acquire);
  }
}

static void *work(void *argument) {
  unsigned seen = (unsigned)(uintptr_t)argument;
  for (;;) {
    for (int i = 0; i < SPINS && atomic_load_explicit(&pool.generation, memory_order_acquire) == seen; ++i) pause_briefly();
    if (atomic_load(&pool.generation) == seen) {
      pthread_mutex_lock(&pool.lock);
      while (atomic_load(&pool.generation) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
      pthread_mutex_unlock(&pool.lock);
    }
    seen = atomic_load(&pool.generation);
    run_tasks(seen);
  }
  return NULL;
}

static int wanted_threads(void) {
  const char *text = getenv("LANDBRIDGE_NUM_THREADS");
  long count = text != NULL ? strtol(text, NULL, 10) : 0;
  if (count <= 0) {
    cpu_set_t cpus;
    count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
  }
  return count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : (int)count;
}

/* In the child of a fork there are no workers: it starts its own when it needs them. */
static void forget_workers(void) {
  pthread_mutex_init(&pool.owner, NULL);
  pthread_mutex_init(&pool.lock, NULL);
  pthread_cond_init(&pool.wake, NULL);
  atomic_store(&pool.generation, 0);
  pool.threads = 0;
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_workers); }

/* The caller owns the pool. A thread that cannot be started is done without. */
static void start_workers(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  int wanted = wanted_threads();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pool.threads = 1;
  while (pool.threads < wanted) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, work, (void *)(uintptr_t)atomic_load(&pool.generation)) != 0) break;
    ++pool.threads;
  }
  pthread_attr_destroy(&attributes);
}

static int launch_alone(ParallelTask *task, void *data) {
  ParallelEnv env = {NULL, 1};
  return task(0, &env, data);
}

static int launch(ParallelTask *task, void *data, int num_task) {
  if (inside_task || num_task == 1 || pthread_mutex_trylock(&pool.owner) != 0) return launch_alone(task, data);
  if (pool.threads == 0) start_workers();
  if (pool.threads == 1) {
    pthread_mutex_unlock(&pool.owner);
    return launch_alone(task, data);
  }
  atomic_int arrived = 0;
  int tasks = num_task <= 0 || num_task > pool.threads ? pool.threads : num_task;
  pool.env = (ParallelEnv){&arrived, tasks};
  pool.task = task;
  pool.data = data;
  atomic_store(&pool.code, 0);
  atomic_store(&pool.pending, tasks);
  pthread_mutex_lock(&pool.lock);
  unsigned generation = atomic_load(&pool.generation) + 1;
  atomic_store(&pool.tickets, tickets_of(generation, tasks));
  atomic_store(&pool.generation, generation);
  pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.lock);
  run_tasks(generation);
  for (int spins = 0; atomic_load_explicit(&pool.pending, memory_order_acquire) != 0; ++spins) {
    if (spins < SPINS) {
      pause_briefly();
    } else {
      sched_yield();
    }
  }
  int code = atomic_load(&pool.code);
  if (code != 0) memcpy(error_text, pool.text, ERROR_SIZE);
  pthread_mutex_unlock(&pool.owner);
  return code;
}

/* All tasks of a launch wait for each other; `arrived` counts on through all barriers of the launch. */
static int barrier(int task, ParallelEnv *env) {
  (void)task;
  if (env->num_task == 1) return 0;
  atomic_int *arrived = env->sync;
  int target = (atomic_fetch_add(arrived, 1) / env->num_task + 1) * env->num_task;
  while (atomic_load(arrived) < target) sched_yield();
  return 0;
}

int (*__TVMBackendParallelLaunch)(ParallelTask *, void *, int) = launch;
int (*__TVMBackendParallelBarrier)(int, ParallelEnv *) = barrier;
void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = release;
