/* One pool of threads for a process, however many host libraries are loaded.
 *
 * Each library has this code. The loader takes the pool of the first that it loads (`lb_pool`) and gives it to all others
 * (`lb_adopt`), whose own then never starts a thread. Nothing is started before a loop is spread.
 *
 * Threads that run host code are callers. A launch gets the threads that no caller and no other launch uses, but no more than its share,
 * so that many callers compute on as many threads as one. Tasks are claimed one by one, by the caller too: whatever the system does not
 * let run in time costs nothing, and where no thread can be started the caller does everything.
 *
 * A worker without work looks for some for a short while, then sleeps: an idle process takes no processor time. Before it is woken it is
 * kept off the processor of the caller, where the kernel likes to put who is woken: there it would wait for the caller, for milliseconds.
 */
#define _GNU_SOURCE
#include "threads.h"
#include "support.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 256, SLOTS = 16, LINE = 64 };

enum { LOOK_NS = 200000 }; /* longer than the gap between two loops of a model that is worth threads; waking takes some 50 us */

enum { PAUSES = 32 }; /* about a microsecond */

enum { SLEEPS = 1 << 30 }; /* set in `pending` by a caller that sleeps until all tasks are done */

/* A launch under way. Its place is used again by later ones: `tickets` has the number of the launch, its tasks and the next to claim in
 * one word, so that a worker that comes late claims nothing of another. */
typedef struct {
  _Alignas(LINE) atomic_int taken;
  _Atomic uint64_t tickets;
  atomic_int pending; /* tasks that have not finished */
  LbTask *task;
  void *context;
} Slot;

static struct {
  Slot slots[SLOTS];
  _Alignas(LINE) atomic_uint launches; /* workers look for tasks when it changes, and sleep on it */
  atomic_int looking;                  /* workers awake without work */
  atomic_int sleeping;
  _Alignas(LINE) atomic_int callers;
  atomic_int granted;     /* threads that launches have beside their callers */
  atomic_int size;        /* 0 before it is asked for */
  atomic_int workers;     /* that were started */
  pthread_mutex_t starts; /* guards `workers` as it grows, `threads` and `allowed` */
  pthread_t threads[MOST_THREADS];
  cpu_set_t allowed; /* the processors of the workers; none before they are first woken */
} pool = {.starts = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local int limit_of_caller;
static _Thread_local int inside_task; /* a parallel loop inside a parallel loop runs serially */

/* ---- waiting ------------------------------------------------------------------------------------------------------------- */

static void sleep_while(void *word, unsigned value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }

static void wake(void *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0); }

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Look away for a moment. Whoever this thread waits for may be waiting for its processor: it is given up again and again. */
static void look_away(void) {
  for (int i = 0; i < PAUSES; ++i) pause_briefly();
  sched_yield();
}

static int64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* ---- tasks --------------------------------------------------------------------------------------------------------------- */

/* Claim and run tasks of a slot until there is none; return how many. */
static int run_tasks(Slot *slot) {
  int count = 0;
  uint64_t found = atomic_load_explicit(&slot->tickets, memory_order_acquire);
  while ((found & 0xffff) < (found >> 16 & 0xffff)) {
    if (!atomic_compare_exchange_weak(&slot->tickets, &found, found + 1)) continue;
    inside_task = 1; /* the launch waits for this task: what is read of the slot stays */
    slot->task((int)(found & 0xffff), (int)(found >> 16 & 0xffff), slot->context);
    inside_task = 0;
    if (atomic_fetch_sub(&slot->pending, 1) == SLEEPS + 1) wake(&slot->pending, 1);
    ++count;
    found = atomic_load_explicit(&slot->tickets, memory_order_acquire);
  }
  return count;
}

static int run_any(void) {
  int count = 0;
  for (int i = 0; i < SLOTS; ++i) count += run_tasks(&pool.slots[i]);
  return count;
}

/* Look for another launch than the `seen`th until it is `until`, then sleep. */
static void await_launch(unsigned seen, int64_t until) {
  atomic_fetch_add(&pool.looking, 1);
  while (atomic_load(&pool.launches) == seen && now_ns() < until) look_away();
  atomic_fetch_sub(&pool.looking, 1);
  if (atomic_load(&pool.launches) != seen) return;
  atomic_fetch_add(&pool.sleeping, 1);
  while (atomic_load(&pool.launches) == seen) sleep_while(&pool.launches, seen);
  atomic_fetch_sub(&pool.sleeping, 1);
}

static void *work(void *unused) {
  (void)unused;
  int64_t until = now_ns() + LOOK_NS; /* launches that leave nothing for this worker do not keep it awake */
  for (;;) {
    unsigned seen = atomic_load(&pool.launches);
    if (run_any() > 0) {
      until = now_ns() + LOOK_NS;
    } else {
      await_launch(seen, until);
    }
  }
  return NULL;
}

/* ---- size ---------------------------------------------------------------------------------------------------------------- */

/* Return the processors that the control group of this process may use, as a container has it; 0 where nothing is said. */
static int quota(void) {
  FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
  long long most = 0, period = 0;
  if (file == NULL) return 0;
  int count = fscanf(file, "%lld %lld", &most, &period);
  fclose(file);
  return count == 2 && most > 0 && period > 0 ? (int)((most + period - 1) / period) : 0;
}

static int clamp(long count) { return count < 1 ? 1 : count > MOST_THREADS ? MOST_THREADS : (int)count; }

static int size_of_pool(void) {
  int size = atomic_load_explicit(&pool.size, memory_order_relaxed);
  if (size != 0) return size;
  const char *text = getenv("LANDBRIDGE_NUM_THREADS");
  long count = text != NULL ? strtol(text, NULL, 10) : 0;
  if (count <= 0) {
    cpu_set_t cpus;
    count = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : sysconf(_SC_NPROCESSORS_ONLN);
    int allowed = quota();
    if (allowed > 0 && allowed < count) count = allowed;
  }
  atomic_store(&pool.size, clamp(count));
  return clamp(count);
}

/* In the child of a fork there are no workers and no other callers: it starts its own workers when it needs them. */
static void forget_workers(void) {
  for (int i = 0; i < SLOTS; ++i) {
    atomic_store(&pool.slots[i].taken, 0);
    atomic_store(&pool.slots[i].tickets, 0);
  }
  atomic_store(&pool.looking, 0);
  atomic_store(&pool.sleeping, 0);
  atomic_store(&pool.callers, 0);
  atomic_store(&pool.granted, 0);
  atomic_store(&pool.workers, 0);
  CPU_ZERO(&pool.allowed);
  pthread_mutex_init(&pool.starts, NULL);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_workers); }

/* See to it that there are so many workers, or as many as the system gives. */
static void start_workers(int wanted) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (atomic_load_explicit(&pool.workers, memory_order_acquire) >= wanted) return;
  pthread_once(&once, watch_forks);
  if (pthread_mutex_trylock(&pool.starts) != 0) return; /* somebody does; this launch makes do with those there are */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads of the program */
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) == 0) {
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (atomic_load(&pool.workers) < wanted) {
      pthread_t thread;
      if (pthread_create(&thread, &attributes, work, NULL) != 0) break;
      pool.threads[atomic_load(&pool.workers)] = thread;
      CPU_ZERO(&pool.allowed); /* the new one has not been told */
      atomic_fetch_add(&pool.workers, 1);
    }
    pthread_attr_destroy(&attributes);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_mutex_unlock(&pool.starts);
}

/* Keep the workers off the processor of this thread, and on the others that it may use. */
static void make_way(void) {
  cpu_set_t cpus;
  int here = sched_getcpu();
  if (here < 0 || sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return;
  if (CPU_COUNT(&cpus) > 1) CPU_CLR((size_t)here, &cpus);
  if (pthread_mutex_trylock(&pool.starts) != 0) return; /* somebody does */
  if (!CPU_EQUAL(&cpus, &pool.allowed)) {
    int count = atomic_load(&pool.workers);
    for (int i = 0; i < count; ++i) (void)pthread_setaffinity_np(pool.threads[i], sizeof(cpus), &cpus);
    pool.allowed = cpus;
  }
  pthread_mutex_unlock(&pool.starts);
}

/* ---- launches ------------------------------------------------------------------------------------------------------------ */

static void enter(int limit) {
  limit_of_caller = limit;
  atomic_fetch_add(&pool.callers, 1);
}

static void leave(void) { atomic_fetch_sub(&pool.callers, 1); }

/* Return how many threads this launch gets beside its caller. */
static int grant(int most) {
  int wanted = limit_of_caller > 0 ? clamp(limit_of_caller) : size_of_pool();
  int total = wanted > size_of_pool() ? wanted : size_of_pool();
  if (most > 0 && most < wanted) wanted = most;
  int granted = atomic_load(&pool.granted);
  for (;;) {
    int callers = atomic_load(&pool.callers);
    int share = callers > 1 ? (total + callers - 1) / callers : total;
    int extra = (wanted < share ? wanted : share) - 1;
    int unused = total - callers - granted;
    if (extra > unused) extra = unused;
    if (extra <= 0) return 0;
    if (atomic_compare_exchange_weak(&pool.granted, &granted, granted + extra)) return extra;
  }
}

static Slot *free_slot(void) {
  for (int i = 0; i < SLOTS; ++i) {
    if (atomic_exchange(&pool.slots[i].taken, 1) == 0) return &pool.slots[i];
  }
  return NULL;
}

static void await_tasks(Slot *slot) {
  for (int i = 0; i < PAUSES && atomic_load_explicit(&slot->pending, memory_order_acquire) != 0; ++i) pause_briefly();
  for (int64_t until = now_ns() + LOOK_NS; now_ns() < until; look_away()) {
    if (atomic_load_explicit(&slot->pending, memory_order_acquire) == 0) return;
  }
  int pending = atomic_load(&slot->pending);
  while ((pending & ~SLEEPS) != 0) {
    if (pending & SLEEPS || atomic_compare_exchange_weak(&slot->pending, &pending, pending | SLEEPS)) {
      sleep_while(&slot->pending, (unsigned)pending | SLEEPS);
      pending = atomic_load(&slot->pending);
    }
  }
}

static void launch(LbTask *task, void *context, int most) {
  int extra = inside_task || most == 1 ? 0 : grant(most);
  Slot *slot = extra > 0 ? free_slot() : NULL;
  if (slot == NULL) {
    atomic_fetch_sub(&pool.granted, extra);
    task(0, 1, context);
    return;
  }
  start_workers(extra);
  slot->task = task;
  slot->context = context;
  atomic_store(&slot->pending, extra + 1);
  uint64_t number = atomic_load(&slot->tickets) >> 32;
  atomic_store(&slot->tickets, (number + 1) << 32 | (uint64_t)(extra + 1) << 16);
  atomic_fetch_add(&pool.launches, 1);
  int asleep = atomic_load(&pool.sleeping), needed = extra - atomic_load(&pool.looking);
  if (asleep > 0 && needed > 0) {
    make_way();
    wake(&pool.launches, needed);
  }
  run_tasks(slot);
  await_tasks(slot);
  atomic_store(&slot->taken, 0);
  atomic_fetch_sub(&pool.granted, extra);
}

/* ---- which pool ---------------------------------------------------------------------------------------------------------- */

static const LbPool own = {LB_POOL_VERSION, enter, leave, launch, size_of_pool};
static const LbPool *used = &own;

const LbPool *lb_threads(void) { return used; }

LB_EXPORT const LbPool *lb_pool(void) { return used; }

/* Use the pool of another library, which must stay loaded; before any segment is called. Return 0 where it is of a kind not known here. */
LB_EXPORT int lb_adopt(const LbPool *other) {
  if (other->version < LB_POOL_VERSION) return 0;
  used = other;
  return 1;
}
