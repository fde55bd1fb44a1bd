// A stand-in for libcuda with the functions that Landbridge calls, for tests. Device addresses are far outside of what a process may
// map, so that a host access is a crash; work on a stream is done when the stream is waited for, so that a missing wait shows; and
// every misuse is an error code, and noted.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, ILLEGAL_ADDRESS = 700 };
enum { BLOCKS = 4096, TASKS = 4096, DEVICES = 2, STREAMS = 64, PINNED = 256 };

typedef struct {
    uint64_t address;
    size_t nbytes;
    unsigned char *memory;
} Block;

typedef struct {
    void *stream;
    int kind;  // 0: to the device, 1: to the host, 2: on the device, 3: a function
    uint64_t device, device_source;
    void *host;
    size_t nbytes;
    void (*function)(void *);
} Task;

static const uint64_t FIRST = UINT64_C(0x10000000000000);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Block blocks[BLOCKS];
static Task tasks[TASKS];
static char streams_made[STREAMS];  // a stream is an address in here
static void *pinned[PINNED];
static int n_tasks, n_pinned, initialized, contexts, streams, fail_in, fail_code, pending_error;
static char fail_name[64];
static uint64_t next_address;
static size_t budget = (size_t)1 << 24, used;
static int contexts_of[DEVICES];
static _Thread_local void *current;

void double_reset(void) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BLOCKS; i++) free(blocks[i].memory);
    memset(blocks, 0, sizeof blocks);
    memset(contexts_of, 0, sizeof contexts_of);
    memset(streams_made, 0, sizeof streams_made);
    for (int i = 0; i < PINNED; i++) free(pinned[i]), pinned[i] = NULL;
    n_pinned = 0;
    n_tasks = initialized = contexts = streams = fail_in = pending_error = 0;
    used = 0, budget = (size_t)1 << 24;
    pthread_mutex_unlock(&lock);
}

void double_budget(size_t nbytes) { budget = nbytes; }

// Make the k-th call of a function from now return a code.
void double_fail(const char *name, int k, int code) {
    strncpy(fail_name, name, sizeof fail_name - 1);
    fail_in = k, fail_code = code;
}

// Make the next wait for a stream report that what is on it failed.
void double_fail_on_stream(int code) { pending_error = code; }

int double_live(void) {
    int count = contexts + streams + n_pinned;
    for (int i = 0; i < BLOCKS; i++) count += blocks[i].memory != NULL;
    return count;
}

int double_is_current(void) { return current != NULL; }

static char broken[256];

static int misuse(int code, const char *function, const char *what) {
    if (!broken[0]) snprintf(broken, sizeof broken, "%s: %s", function, what);
    return code;
}
#define MISUSE(code, what) misuse((code), __func__, (what))

// The first rule of the interface that was broken since this was asked last, "" where none was.
const char *double_misuse(void) {
    static _Thread_local char text[sizeof broken];
    memcpy(text, broken, sizeof text);
    broken[0] = 0;
    return text;
}

static int check(const char *name, int needs_context) {
    if (fail_in && !strcmp(name, fail_name) && --fail_in == 0) return fail_code;
    if (!initialized) return misuse(NOT_INITIALIZED, name, "cuInit was not called");
    return needs_context && !current ? misuse(INVALID_CONTEXT, name, "no context is current on this thread") : OK;
}
#define CHECK(needs_context)                      \
    do {                                          \
        int code_ = check(__func__, needs_context); \
        if (code_) return code_;                  \
    } while (0)

static int is_device(const void *address) { return (uint64_t)(uintptr_t)address >= FIRST; }

static unsigned char *at(uint64_t address, size_t nbytes) {
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i].memory && address >= blocks[i].address && address + nbytes <= blocks[i].address + blocks[i].nbytes)
            return blocks[i].memory + (address - blocks[i].address);
    return NULL;
}

int cuInit(unsigned flags) {
    if (fail_in && !strcmp("cuInit", fail_name) && --fail_in == 0) return fail_code;
    if (flags) return INVALID_VALUE;
    if (!next_address) next_address = FIRST;
    initialized = 1;
    return OK;
}

int cuDriverGetVersion(int *version) { return *version = 12040, OK; }
int cuDeviceGetCount(int *count) { CHECK(0); return *count = DEVICES, OK; }
int cuDeviceGet(int *device, int ordinal) { CHECK(0); return ordinal < 0 || ordinal >= DEVICES ? INVALID_DEVICE : (*device = ordinal + 7, OK); }
int cuDeviceGetName(char *name, int nbytes, int device) { CHECK(0); return device < 7 ? INVALID_DEVICE : (strncpy(name, "Double GPU", nbytes), OK); }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    CHECK(0);
    if (device < 7) return INVALID_DEVICE;
    return *value = attribute == 75 ? 8 : attribute == 76 ? 6 : -1, OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { CHECK(0); return contexts_of[device - 7]++, contexts++, *context = &contexts_of[device - 7], OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { CHECK(0); return contexts_of[device - 7]-- > 0 ? (contexts--, OK) : MISUSE(INVALID_CONTEXT, "the context was not retained"); }
int cuCtxSetCurrent(void *context) { CHECK(0); return current = context, OK; }
int cuMemGetInfo_v2(size_t *free_nbytes, size_t *total) { CHECK(1); return *free_nbytes = budget - used, *total = budget, OK; }

int cuMemAlloc_v2(uint64_t *address, size_t nbytes) {
    CHECK(1);
    if (!nbytes) return MISUSE(INVALID_VALUE, "0 bytes");
    pthread_mutex_lock(&lock);
    int code = used + nbytes > budget ? OUT_OF_MEMORY : INVALID_VALUE;
    for (int i = 0; i < BLOCKS && code == INVALID_VALUE; i++) {
        if (blocks[i].memory) continue;
        blocks[i] = (Block){next_address, nbytes, malloc(nbytes)};
        memset(blocks[i].memory, 0xa5, nbytes);
        *address = next_address;
        next_address += (nbytes + 8191) / 4096 * 4096;
        used += nbytes;
        code = OK;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

int cuMemFree_v2(uint64_t address) {
    CHECK(1);
    pthread_mutex_lock(&lock);
    int code = INVALID_VALUE;
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i].memory && blocks[i].address == address) {
            used -= blocks[i].nbytes;
            free(blocks[i].memory);
            blocks[i].memory = NULL;
            code = OK;
        }
    pthread_mutex_unlock(&lock);
    return code ? MISUSE(code, "no live buffer begins at this address") : OK;
}

static int is_stream(const void *stream) {
    const char *place = stream;
    return place >= streams_made && place < streams_made + STREAMS && *place;
}

static int enqueue(Task task, void *stream) {
    if (!is_stream(stream)) return MISUSE(INVALID_VALUE, "no such stream");
    task.stream = stream;
    pthread_mutex_lock(&lock);
    int code = n_tasks == TASKS ? OUT_OF_MEMORY : OK;
    if (!code) tasks[n_tasks++] = task;
    pthread_mutex_unlock(&lock);
    return code;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t nbytes, void *stream) {
    CHECK(1);
    if (!at(to, nbytes)) return MISUSE(INVALID_VALUE, "the destination is in no live buffer of the device");
    if (is_device(from)) return MISUSE(INVALID_VALUE, "the source is memory of the device: wrong direction");
    return enqueue((Task){.kind = 0, .device = to, .host = (void *)from, .nbytes = nbytes}, stream);
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t nbytes, void *stream) {
    CHECK(1);
    if (!at(from, nbytes)) return MISUSE(INVALID_VALUE, "the source is in no live buffer of the device");
    if (is_device(to)) return MISUSE(INVALID_VALUE, "the destination is memory of the device: wrong direction");
    return enqueue((Task){.kind = 1, .device = from, .host = to, .nbytes = nbytes}, stream);
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t nbytes, void *stream) {
    CHECK(1);
    if (!at(to, nbytes) || !at(from, nbytes)) return MISUSE(INVALID_VALUE, "an end is in no live buffer of the device");
    return enqueue((Task){.kind = 2, .device = to, .device_source = from, .nbytes = nbytes}, stream);
}
int cuLaunchHostFunc(void *stream, void (*function)(void *), void *argument) {
    CHECK(1);
    return enqueue((Task){.kind = 3, .function = function, .host = argument}, stream);
}
int cuStreamCreate(void **stream, unsigned flags) {
    CHECK(1);
    if (flags > 1) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < STREAMS && streams_made[i]) i++;
    if (i < STREAMS) streams_made[i] = 1, streams++, *stream = &streams_made[i];
    pthread_mutex_unlock(&lock);
    return i < STREAMS ? OK : OUT_OF_MEMORY;
}

int cuStreamDestroy_v2(void *stream) {
    CHECK(1);
    if (!is_stream(stream)) return MISUSE(INVALID_VALUE, "no such stream");
    *(char *)stream = 0, streams--;
    return OK;
}

// Take the first task of a stream out of those that wait; 0 when there is none.
static int take(void *stream, Task *task) {
    for (int i = 0; i < n_tasks; i++) {
        if (tasks[i].stream != stream) continue;
        *task = tasks[i];
        memmove(&tasks[i], &tasks[i + 1], (size_t)(--n_tasks - i) * sizeof *tasks);
        return 1;
    }
    return 0;
}

int cuStreamSynchronize(void *stream) {
    CHECK(1);
    if (!is_stream(stream)) return MISUSE(INVALID_VALUE, "no such stream");
    for (;;) {
        Task task;
        pthread_mutex_lock(&lock);
        int more = take(stream, &task), bad = 0;
        if (more && task.kind < 3) {
            unsigned char *to = at(task.device, task.nbytes), *from = task.kind == 2 ? at(task.device_source, task.nbytes) : to;
            bad = !to || !from;
            if (!bad && task.kind == 0) memcpy(to, task.host, task.nbytes);
            if (!bad && task.kind == 1) memcpy(task.host, to, task.nbytes);
            if (!bad && task.kind == 2) memcpy(to, from, task.nbytes);
        }
        pthread_mutex_unlock(&lock);
        if (bad) return MISUSE(ILLEGAL_ADDRESS, "a buffer was freed before the stream was waited for");
        if (!more) break;
        if (task.kind == 3) task.function(task.host);
    }
    int code = pending_error;
    return pending_error = 0, code;
}

int cuMemHostAlloc(void **address, size_t nbytes, unsigned flags) {
    CHECK(1);
    if (!nbytes || flags != 1) return MISUSE(INVALID_VALUE, "0 bytes, or not portable");
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < PINNED && pinned[i]) i++;
    if (i < PINNED) *address = pinned[i] = aligned_alloc(4096, (nbytes + 4095) / 4096 * 4096), n_pinned++;
    pthread_mutex_unlock(&lock);
    return i < PINNED ? OK : OUT_OF_MEMORY;
}

int cuMemFreeHost(void *address) {
    CHECK(1);
    pthread_mutex_lock(&lock);
    int code = INVALID_VALUE;
    for (int i = 0; i < PINNED; i++)
        if (address && pinned[i] == address) free(address), pinned[i] = NULL, n_pinned--, code = OK;
    pthread_mutex_unlock(&lock);
    return code ? MISUSE(code, "not what cuMemHostAlloc gave, or freed already") : OK;
}

// What a kernel of the engine double does with memory: 0 on success.
int double_read(uint64_t from, void *to, size_t nbytes) {
    return at(from, nbytes) ? (memcpy(to, at(from, nbytes), nbytes), OK) : misuse(ILLEGAL_ADDRESS, "a kernel", "reads outside of live buffers");
}
int double_write(uint64_t to, const void *from, size_t nbytes) {
    return at(to, nbytes) ? (memcpy(at(to, nbytes), from, nbytes), OK) : misuse(ILLEGAL_ADDRESS, "a kernel", "writes outside of live buffers");
}

int cuGetErrorName(int code, const char **name) {
    return *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : code == 999 ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR_INVALID_VALUE", OK;
}
int cuGetErrorString(int code, const char **text) { return *text = code == OUT_OF_MEMORY ? "out of memory" : code == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : "unknown error", OK; }
