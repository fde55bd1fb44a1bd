/* Injected faults, the count of what lives, and sizes in the environment: how a test steers a simulator. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"

#define FAULTS 32
#define SLOW_NS 100000000 /* what a slow call takes longer */

static const struct {
    const char *mode;
    enum fault fault;
    bool lasting;
} MODES[] = {
    {"fail", FAULT_FAIL, false},       {"lasting", FAULT_FAIL, true},  {"oom", FAULT_OUT_OF_MEMORY, false},
    {"sticky", FAULT_LOST, false},     {"hang", FAULT_HANG, false},    {"slow", FAULT_SLOW, false},
    {"size", FAULT_SIZE, false},       {"dtype", FAULT_DTYPE, false},  {"no write", FAULT_NO_WRITE, false},
    {"overrun", FAULT_OVERRUN, false},
};

static struct {
    char function[64];
    int countdown; /* calls until it fires; 1 is the next one */
    bool lasting;
    enum fault fault;
} faults[FAULTS];
static int fault_count;
static bool lost;                      /* the device is, since a sticky failure */
static _Thread_local enum fault twist; /* what the present call is to do wrong without saying so */

static pthread_mutex_t hang_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hang_over = PTHREAD_COND_INITIALIZER;
static unsigned hangs_ended;

int report(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sim_report(code, format, arguments);
    va_end(arguments);
    return code;
}

static char broken[1024];

void note_misuse(const char *function, const char *reason) {
    LOCKED;
    if (broken[0] == '\0') snprintf(broken, sizeof broken, "%s: %s", function != NULL ? function : VENDOR.prefix, reason);
}

/* The first rule of the interface that the caller broke since this was asked last, "" where it broke none; sim_reset does not forget it. */
API const char *sim_misuse(void) {
    static _Thread_local char text[sizeof broken];
    LOCKED;
    memcpy(text, broken, sizeof text);
    broken[0] = '\0';
    return text;
}

static enum fault take(const char *function) {
    LOCKED;
    enum fault taken = FAULT_NONE;
    int kept = 0;
    for (int i = 0; i < fault_count; i++) {
        bool fires = strcmp(faults[i].function, function) == 0 && faults[i].countdown-- <= 1;
        if (fires) taken = faults[i].fault;
        if (fires && faults[i].lasting) faults[i].countdown = 1;
        if (!fires || faults[i].lasting) faults[kept++] = faults[i];
    }
    fault_count = kept;
    lost = lost || taken == FAULT_LOST;
    return taken;
}

static void hang(void) {
    pthread_mutex_lock(&hang_mutex);
    for (unsigned before = hangs_ended; before == hangs_ended;) pthread_cond_wait(&hang_over, &hang_mutex);
    pthread_mutex_unlock(&hang_mutex);
}

/* End all calls that hang. */
API void sim_release(void) {
    pthread_mutex_lock(&hang_mutex);
    hangs_ended++;
    pthread_cond_broadcast(&hang_over);
    pthread_mutex_unlock(&hang_mutex);
}

enum fault fault_enter(const char *function) {
    enum fault fault = take(function);
    twist = FAULT_NONE;
    switch (fault) {
        case FAULT_FAIL:
        case FAULT_OUT_OF_MEMORY:
        case FAULT_LOST: return fault;
        case FAULT_HANG: hang(); break;
        case FAULT_SLOW: nanosleep(&(struct timespec){.tv_nsec = SLOW_NS}, NULL); break;
        default: twist = fault;
    }
    return FAULT_NONE;
}

bool fault_is(enum fault fault) { return twist == fault; }

bool fault_lost(void) {
    LOCKED;
    return lost;
}

void faults_clear(void) {
    LOCKED;
    fault_count = 0;
    lost = false;
    sim_release();
}

size_t environment_size(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    if (text == NULL || *text == '\0') return otherwise;
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    switch (*end) {
        case 'K': return (size_t)value << 10;
        case 'M': return (size_t)value << 20;
        case 'G': return (size_t)value << 30;
        default: return value ? (size_t)value : otherwise;
    }
}

/* How many objects of a kind live; "bytes" is the device memory in use. -1 for an unknown kind. */
API int64_t sim_live(const char *kind) {
    LOCKED;
    if (strcmp(kind, "bytes") == 0) return memory_live_bytes();
    for (int i = 0; VENDOR.kinds[i] != NULL; i++)
        if (strcmp(kind, VENDOR.kinds[i]) == 0) return handle_count(i);
    return -1;
}

static bool is_exported(const char *function) {
    Dl_info self;
    if (strncmp(function, VENDOR.prefix, strlen(VENDOR.prefix)) != 0 || dladdr((void *)(uintptr_t)&sim_live, &self) == 0) return false;
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) return false;
    bool found = dlsym(library, function) != NULL;
    dlclose(library);
    return found;
}

/* Whether a function can do this: most cannot do their work wrongly and say that it is done. */
static bool can(const char *function, enum fault fault) {
    if (fault < FAULT_SIZE) return true;
    for (int i = 0; VENDOR.twists[i].function != NULL; i++)
        if (VENDOR.twists[i].fault == fault && strcmp(VENDOR.twists[i].function, function) == 0) return true;
    return false;
}

/* Do something to the k-th call of `function` from now (k = 1 is the next). Modes:
 *
 * - "fail": it fails; "oom": for lack of memory; "lasting": it fails and so does every later call of this function;
 * - "sticky": it fails as when the device is lost, and from then on everything does that needs a device, until sim_reset;
 * - "hang": it waits for sim_release; "slow": it takes 0.1 s longer;
 * - "size", "dtype": it answers with another size or type than the model has; "no write": it says that it is done, and nothing is
 *   written; "overrun": it writes beyond the end of the first output. Of these each function has those that make sense for it.
 *
 * Returns 0, or -1 for an unknown function, mode or k, a mode that the function cannot have, or when too many are pending. */
API int sim_fault(const char *function, int k, const char *mode) {
    LOCKED;
    if (k < 1 || fault_count == FAULTS || strlen(function) >= sizeof faults[0].function || !is_exported(function)) return -1;
    for (size_t i = 0; i < sizeof MODES / sizeof *MODES; i++) {
        if (strcmp(mode, MODES[i].mode) != 0 || !can(function, MODES[i].fault)) continue;
        snprintf(faults[fault_count].function, sizeof faults[0].function, "%s", function);
        faults[fault_count].countdown = k;
        faults[fault_count].lasting = MODES[i].lasting;
        faults[fault_count++].fault = MODES[i].fault;
        return 0;
    }
    return -1;
}
