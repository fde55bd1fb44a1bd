/* The lock of the library. */
#define _GNU_SOURCE
#include <pthread.h>

#include "common.h"

static pthread_mutex_t mutex;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_mutex(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

struct guard sim_lock(void) {
    pthread_once(&once, make_mutex);
    pthread_mutex_lock(&mutex);
    return (struct guard){0};
}

void sim_unlock(struct guard *guard) {
    (void)guard;
    pthread_mutex_unlock(&mutex);
}
