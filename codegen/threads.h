/* The threads that parallel loops run on; see threads.c. */
#ifndef LANDBRIDGE_THREADS_H
#define LANDBRIDGE_THREADS_H

#include <stdint.h>

/* Run one task of a launch; `context` is what the launch was given. Called once for each task, on any thread. */
typedef void LbTask(int task, int num_tasks, void *context);

/* A pool as other libraries of the process see it. Functions are added at the end, with a new version. */
typedef struct {
  uint32_t version;
  /* This thread begins host code on at most `limit` threads (0: as many as the pool has) and ends it. Not nested. */
  void (*enter)(int limit);
  void (*leave)(void);
  /* Run tasks and return when all are done: as many as there are threads for this thread now, and never more than `most` (0: no such
   * bound). Where it is one, or this thread is inside a task, the task runs here and nobody else is asked. */
  void (*launch)(LbTask *task, void *context, int most);
  /* Return how many threads compute at once, callers included, where no session asks for more. */
  int (*size)(void);
} LbPool;

enum { LB_POOL_VERSION = 1 };

/* Return the pool that this library uses. */
const LbPool *lb_threads(void);

#endif
