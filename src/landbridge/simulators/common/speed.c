/* How long copies and executions take: as long as the host needs for them, or as a test says.
 *
 * A device has an unit for copies in, one for copies out and one that executes. Each does one thing at a time, and all of them
 * work at the same time. */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "common.h"

#define UNITS 3

static const char *const NAMES[UNITS] = {[UNIT_IN] = "copy in", [UNIT_OUT] = "copy out", [UNIT_EXECUTE] = "execute"};

static struct {
    double latency_s, bytes_per_s; /* 0 bytes per second: any number of bytes in no time */
} speeds[UNITS];
static pthread_mutex_t units[DEVICES][UNITS] = {[0 ... DEVICES - 1] = {[0 ... UNITS - 1] = PTHREAD_MUTEX_INITIALIZER}};

/* Let each copy or execution from now on take `latency_s`, and for its bytes as long as they take at `bytes_per_s`, where that is
 * not 0. `what` is "copy in", "copy out" or "execute". Returns 0, or -1 for something else. */
API int sim_speed(const char *what, double latency_s, double bytes_per_s) {
    LOCKED;
    for (int i = 0; i < UNITS; i++) {
        if (strcmp(what, NAMES[i]) != 0 || latency_s < 0 || bytes_per_s < 0) continue;
        speeds[i].latency_s = latency_s;
        speeds[i].bytes_per_s = bytes_per_s;
        return 0;
    }
    return -1;
}

void speeds_clear(void) {
    LOCKED;
    memset(speeds, 0, sizeof speeds);
}

static double duration(enum unit unit, size_t bytes) {
    LOCKED;
    double transfer = speeds[unit].bytes_per_s > 0 ? (double)bytes / speeds[unit].bytes_per_s : 0;
    return speeds[unit].latency_s + transfer;
}

void unit_work(int device, enum unit unit, size_t bytes) {
    double seconds = duration(unit, bytes);
    if (seconds <= 0) return;
    pthread_mutex_lock(&units[device][unit]);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000L) until.tv_sec++, until.tv_nsec -= 1000000000L;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) continue;
    pthread_mutex_unlock(&units[device][unit]);
}
