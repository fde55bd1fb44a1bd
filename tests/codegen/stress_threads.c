/* Several callers launch at once, again and again; each task must run once, nested launches serially, and there must never be more threads
 * at work than the pool has, beyond the callers. Arguments: callers, launches of each, threads of the pool. Prints the most at once. */
#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TASKS = 256 };

static int callers, launches, failures;
static atomic_int at_work, most_at_work;
static const LbPool *pool;

typedef struct {
  int marks[MOST_TASKS]; /* written without atomics: the launch must order them */
  int tasks;
} Seen;

static void nested(int task, int count, void *context) {
  if (task != 0 || count != 1) ((Seen *)context)->tasks = -1;
}

static void mark(int task, int count, void *context) {
  Seen *seen = context;
  int now = atomic_fetch_add(&at_work, 1) + 1, most = atomic_load(&most_at_work);
  while (now > most && !atomic_compare_exchange_weak(&most_at_work, &most, now)) {
  }
  volatile int sum = 0;
  for (int i = 0; i < 2000; ++i) sum += i;
  seen->marks[task] += 1;
  if (task == 0) seen->tasks = count;
  if (task == 0 && count > 1) pool->launch(nested, seen, 0);
  atomic_fetch_sub(&at_work, 1);
}

static void *call(void *argument) {
  int *wrong = argument;
  for (int i = 0; i < launches; ++i) {
    Seen seen;
    memset(&seen, 0, sizeof seen);
    pool->enter(0);
    pool->launch(mark, &seen, i % 7 == 0 ? 2 : 0);
    pool->leave();
    if (seen.tasks < 1 || (i % 7 == 0 && seen.tasks > 2)) ++*wrong;
    for (int task = 0; task < MOST_TASKS; ++task) {
      if (seen.marks[task] != (task < seen.tasks)) ++*wrong;
    }
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  callers = atoi(argv[1]), launches = atoi(argv[2]);
  setenv("LANDBRIDGE_NUM_THREADS", argv[3], 1);
  pool = lb_threads();
  pthread_t threads[64];
  int wrong[64] = {0};
  for (int i = 0; i < callers; ++i) pthread_create(&threads[i], NULL, call, &wrong[i]);
  for (int i = 0; i < callers; ++i) pthread_join(threads[i], NULL);
  for (int i = 0; i < callers; ++i) failures += wrong[i];
  printf("%d\n", atomic_load(&most_at_work));
  return failures != 0;
}
