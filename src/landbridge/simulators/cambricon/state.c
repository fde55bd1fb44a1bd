/* Initialisation, the texts of errors, injected faults, and the simulator's own entry points. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define FAULTS 32
#define DEFAULT_MEMORY ((size_t)1 << 30)

static pthread_mutex_t mutex;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static enum { UNUSED, REAL, FAKE } mode;
static int core = CNRT_MLU270;

struct fault {
    char function[64];
    int countdown; /* calls until it fires; 1 is the next one */
    bool sticky, out_of_memory;
};
static struct fault faults[FAULTS];
static int fault_count;

static _Thread_local struct {
    cnrtRet_t code; /* of the last failure on this thread */
    char reason[1024];
    char text[1280];
    const char *function;
} mine;

static void make_mutex(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

struct lock_guard lock_take(void) {
    pthread_once(&once, make_mutex);
    pthread_mutex_lock(&mutex);
    return (struct lock_guard){0};
}

void lock_release(struct lock_guard *guard) {
    (void)guard;
    pthread_mutex_unlock(&mutex);
}

bool sim_is_fake(void) {
    LOCKED;
    return mode == FAKE;
}

int sim_core(void) { return core; }

/* --- error texts ---------------------------------------------------------------------------------------------------------- */

static const struct {
    cnrtRet_t code;
    const char *text;
} TEXTS[] = {
    {CNRT_RET_SUCCESS, "CNRT_RET_SUCCESS"},
    {CNRT_RET_WARNING_FAKE_DEVICE, "CNRT_RET_WARNING_FAKE_DEVICE"},
    {CNRT_RET_ERR_NOT_READY, "CNRT_RET_ERR_NOT_READY"},
    {CNRT_RET_ERR_INVALID, "CNRT_RET_ERR_INVALID"},
    {CNRT_RET_ERR_NOMEM, "CNRT_RET_ERR_NOMEM"},
    {CNRT_RET_ERR_NODEV, "CNRT_RET_ERR_NODEV"},
    {CNRT_RET_ERR_IO, "CNRT_RET_ERR_IO"},
    {CNRT_RET_ERR_BUSY, "CNRT_RET_ERR_BUSY"},
    {CNRT_RET_ERR_UNSUPPORTED, "CNRT_RET_ERR_UNSUPPORTED"},
    {CNRT_RET_ERR_INVALID_POINTER, "CNRT_RET_ERR_INVALID_POINTER"},
    {CNRT_RET_ERR_NO_EXIST, "CNRT_RET_ERR_NO_EXIST"},
    {CNRT_RET_ERR_INIT, "CNRT_RET_ERR_INIT"},
    {CNRT_RET_ERR_QUEUE, "CNRT_RET_ERR_QUEUE"},
    {CNRT_RET_ERR_MLU, "CNRT_RET_ERR_MLU"},
    {CNRT_RET_ERR_MEMCPY, "CNRT_RET_ERR_MEMCPY"},
};

cnrtRet_t fail_with(cnrtRet_t code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(mine.reason, sizeof mine.reason, format, arguments);
    va_end(arguments);
    mine.code = code;
    return code;
}

/* The text of a code, and why it was, where it is that of this thread's last failure. */
API const char *cnrtGetErrorStr(cnrtRet_t code) {
    const char *text = "CNRT_RET_ERR_UNKNOWN";
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        if (TEXTS[i].code == code) text = TEXTS[i].text;
    if (code == CNRT_RET_SUCCESS || mine.code != code) return text;
    snprintf(mine.text, sizeof mine.text, "%s: %s: %s", text, mine.function ? mine.function : "cnrt", mine.reason);
    return mine.text;
}

/* --- entering a call ------------------------------------------------------------------------------------------------------ */

static cnrtRet_t apply_faults(const char *function) {
    LOCKED;
    cnrtRet_t code = CNRT_RET_SUCCESS;
    int kept = 0;
    for (int i = 0; i < fault_count; i++) {
        struct fault *fault = &faults[i];
        bool fires = strcmp(fault->function, function) == 0 && fault->countdown-- <= 1;
        if (fires) code = fault->out_of_memory ? CNRT_RET_ERR_NOMEM : CNRT_RET_ERR_MLU;
        if (fires && fault->sticky) fault->countdown = 1;
        if (!fires || fault->sticky) faults[kept++] = *fault;
    }
    fault_count = kept;
    return code == CNRT_RET_SUCCESS ? code : fail_with(code, "simulator: injected fault");
}

cnrtRet_t sim_enter(const char *function, int needs) {
    mine.function = function;
    cnrtRet_t injected = apply_faults(function);
    if (injected != CNRT_RET_SUCCESS) return injected;
    LOCKED;
    if (needs & NEEDS_INIT && mode == UNUSED) return fail_with(CNRT_RET_ERR_INIT, "cnrt is not initialised; call cnrtInit first");
    if (needs & NEEDS_NO_FAKE && mode == FAKE) return fail_with(CNRT_RET_ERR_NODEV, "the fake device only answers questions about models");
    if (needs & NEEDS_CURRENT && mode == REAL && device_current() < 0)
        return fail_with(CNRT_RET_ERR_NODEV, "this thread has no current device; call cnrtSetCurrentDevice on it first");
    return CNRT_RET_SUCCESS;
}

/* --- initialisation ------------------------------------------------------------------------------------------------------- */

static size_t environment_size(const char *name, size_t otherwise) {
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

static int environment_core(void) {
    const char *name = getenv("LANDBRIDGE_SIM_CAMBRICON_CORE");
    if (name != NULL && strcmp(name, "MLU220") == 0) return CNRT_MLU220;
    return name != NULL && strcmp(name, "MLU290") == 0 ? CNRT_MLU290 : CNRT_MLU270;
}

API cnrtRet_t cnrtInit(unsigned int flags) {
    ENTER(NEEDS_NOTHING);
    LOCKED;
    if (flags > 1) return fail_with(CNRT_RET_ERR_INVALID, "flags %u, expected 0 (real device) or 1 (fake device)", flags);
    if (mode != UNUSED && (mode == FAKE) != (flags == 1)) return fail_with(CNRT_RET_ERR_INIT, "initialised with other flags");
    if (mode != UNUSED) return CNRT_RET_SUCCESS;
    cnrtRet_t code = device_memory_init(environment_size("LANDBRIDGE_SIM_CAMBRICON_MEMORY", DEFAULT_MEMORY));
    if (code != CNRT_RET_SUCCESS) return code;
    core = environment_core();
    mode = flags == 1 ? FAKE : REAL;
    return flags == 1 ? fail_with(CNRT_RET_WARNING_FAKE_DEVICE, "no device will execute anything") : CNRT_RET_SUCCESS;
}

API void cnrtDestroy(void) {
    LOCKED;
    mode = UNUSED;
}

/* --- the simulator's own entry points ------------------------------------------------------------------------------------- */

static const char *const KIND_NAMES[KINDS] = {
    [K_BUFFER] = "buffer",   [K_HOST] = "host",   [K_QUEUE] = "queue",   [K_MODEL] = "model",       [K_FUNCTION] = "function",
    [K_CONTEXT] = "context", [K_PARAM] = "param", [K_PARAMS] = "params", [K_RESOURCE] = "resource", [K_NAMES] = "names",
};

/* How many objects of a kind live; "bytes" is the device memory in use. -1 for an unknown kind. */
API int64_t sim_live(const char *kind) {
    LOCKED;
    if (strcmp(kind, "bytes") == 0) return device_memory_live();
    for (int i = 0; i < KINDS; i++)
        if (strcmp(kind, KIND_NAMES[i]) == 0) return object_count((enum kind)i);
    return -1;
}

/* Free everything and forget everything: the state before cnrtInit. No other thread may be inside the library. */
API void sim_reset(void) {
    LOCKED;
    context_drop_all();
    model_drop_all();
    param_drop_all();
    device_forget_all();
    device_memory_reset();
    fault_count = 0;
    mode = UNUSED;
    mine.code = CNRT_RET_SUCCESS;
}

static bool is_exported(const char *function) {
    Dl_info self;
    if (strncmp(function, "cnrt", 4) != 0 || dladdr((void *)(uintptr_t)&sim_reset, &self) == 0) return false;
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) return false;
    bool found = dlsym(library, function) != NULL;
    dlclose(library);
    return found;
}

/* Make the k-th call of `function` from now fail (k = 1 is the next): mode "fail" once, "oom" once and for lack of memory,
 * "sticky" then and ever after. Returns 0, or -1 for an unknown function, mode or k, or when too many are pending. */
API int sim_fault(const char *function, int k, const char *how) {
    LOCKED;
    bool sticky = strcmp(how, "sticky") == 0, out_of_memory = strcmp(how, "oom") == 0;
    if (k < 1 || fault_count == FAULTS || strlen(function) >= sizeof faults[0].function || !is_exported(function)) return -1;
    if (!sticky && !out_of_memory && strcmp(how, "fail") != 0) return -1;
    struct fault *fault = &faults[fault_count++];
    snprintf(fault->function, sizeof fault->function, "%s", function);
    fault->countdown = k;
    fault->sticky = sticky;
    fault->out_of_memory = out_of_memory;
    return 0;
}
