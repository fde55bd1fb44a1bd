/* Initialisation, the texts of errors, injected faults, and the simulator's own entry points. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define MESSAGE 2048
#define MESSAGES 8
#define FAULTS 32
#define DEFAULT_MEMORY ((size_t)1 << 30)

static pthread_mutex_t mutex;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool initialised;
static bool finalised; /* since the last aclInit, so that a second aclFinalize is told from a first */
static char soc[64] = "Ascend310";

struct fault {
    char function[64];
    int countdown; /* calls until it fires; 1 is the next one */
    bool sticky, out_of_memory;
};
static struct fault faults[FAULTS];
static int fault_count;

struct messages {
    char text[MESSAGES][MESSAGE]; /* a ring; `count` have been stored since the last fetch */
    unsigned count;
    char fetched[MESSAGES * MESSAGE];
    const char *function;
};
static _Thread_local struct messages mine;

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

bool sim_initialised(void) {
    LOCKED;
    return initialised;
}

const char *sim_soc(void) { return soc; }

/* --- error texts ---------------------------------------------------------------------------------------------------------- */

static const char *message_head(aclError code) {
    if (code == ACL_ERROR_RT_MEMORY_ALLOCATION || code == ACL_ERROR_BAD_ALLOC) return "EL0004: Failed to allocate memory.";
    if (code < 200000) return "EE1001: The argument is invalid.";
    return "E19999: Inner Error!";
}

aclError fail(aclError code, const char *format, ...) {
    char reason[MESSAGE - 256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    const char *function = mine.function ? mine.function : "acl";
    snprintf(mine.text[mine.count++ % MESSAGES], MESSAGE, "%s Reason: %s\n        [FUNC:%s][ERROR:%d]\n", message_head(code), reason,
             function, code);
    return code;
}

API const char *aclGetRecentErrMsg(void) {
    mine.fetched[0] = '\0';
    if (mine.count == 0) return NULL;
    unsigned kept = mine.count < MESSAGES ? mine.count : MESSAGES;
    size_t used = 0;
    for (unsigned i = 1; i <= kept; i++)
        used += (size_t)snprintf(mine.fetched + used, MESSAGE, "%s", mine.text[(mine.count - i) % MESSAGES]);
    mine.count = 0;
    return mine.fetched;
}

/* --- entering a call ------------------------------------------------------------------------------------------------------ */

static aclError fault_code(const struct fault *fault) {
    if (fault->out_of_memory) return ACL_ERROR_RT_MEMORY_ALLOCATION;
    if (strncmp(fault->function, "aclmdlExecute", 13) == 0) return ACL_ERROR_RT_MODEL_EXECUTE;
    return strncmp(fault->function, "aclmdl", 6) == 0 ? ACL_ERROR_GE_FAILURE : ACL_ERROR_RT_FAILURE;
}

static aclError apply_faults(const char *function) {
    LOCKED;
    aclError code = ACL_SUCCESS;
    int kept = 0;
    for (int i = 0; i < fault_count; i++) {
        struct fault *fault = &faults[i];
        bool mine_fires = strcmp(fault->function, function) == 0 && fault->countdown-- <= 1;
        if (mine_fires) code = fault_code(fault);
        if (mine_fires && fault->sticky) fault->countdown = 1;
        if (!mine_fires || fault->sticky) faults[kept++] = *fault;
    }
    fault_count = kept;
    return code == ACL_SUCCESS ? code : fail(code, "simulator: injected fault");
}

aclError sim_enter(const char *function, int needs) {
    mine.fetched[0] = '\0'; /* the last message dies at the next call */
    mine.function = function;
    aclError injected = apply_faults(function);
    if (injected != ACL_SUCCESS) return injected;
    if (needs != NEEDS_NOTHING && !sim_initialised()) return fail(ACL_ERROR_UNINITIALIZE, "acl is not initialised; call aclInit first");
    if (needs == NEEDS_CONTEXT && context_current() == NULL)
        return fail(ACL_ERROR_RT_CONTEXT_NULL,
                    "this thread has no current context; call aclrtSetDevice or aclrtSetCurrentContext on it first");
    return ACL_SUCCESS;
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

API aclError aclInit(const char *config_path) {
    ENTER_ERROR(NEEDS_NOTHING);
    (void)config_path;
    LOCKED;
    if (initialised) return fail(ACL_ERROR_REPEAT_INITIALIZE, "repeat initialize");
    aclError error = memory_init(environment_size("LANDBRIDGE_SIM_ATLAS_MEMORY", DEFAULT_MEMORY));
    if (error != ACL_SUCCESS) return error;
    const char *name = getenv("LANDBRIDGE_SIM_ATLAS_SOC");
    snprintf(soc, sizeof soc, "%s", name != NULL && *name != '\0' ? name : "Ascend310");
    initialised = true;
    finalised = false;
    return ACL_SUCCESS;
}

API aclError aclFinalize(void) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    if (finalised) return fail(ACL_ERROR_REPEAT_FINALIZE, "repeat finalize");
    if (!initialised) return fail(ACL_ERROR_UNINITIALIZE, "acl is not initialised; call aclInit first");
    initialised = false;
    finalised = true;
    return ACL_SUCCESS;
}

API aclError aclrtGetVersion(int32_t *major, int32_t *minor, int32_t *patch) {
    ENTER_ERROR(NEEDS_NOTHING);
    if (major == NULL || minor == NULL || patch == NULL) return fail(ACL_ERROR_INVALID_PARAM, "a version pointer is NULL");
    *major = 1, *minor = 8, *patch = 0;
    return ACL_SUCCESS;
}

API const char *aclrtGetSocName(void) {
    ENTER(NEEDS_INIT, NULL);
    return soc;
}

/* --- the simulator's own entry points ------------------------------------------------------------------------------------- */

static const char *const KIND_NAMES[KINDS] = {
    [K_BUFFER] = "buffer", [K_HOST] = "host",       [K_CONTEXT] = "context",       [K_STREAM] = "stream",         [K_MODEL] = "model",
    [K_DESC] = "desc",     [K_DATASET] = "dataset", [K_DATABUFFER] = "databuffer", [K_TENSORDESC] = "tensordesc", [K_CONFIG] = "config",
};

/* How many objects of a kind live; "bytes" is the device memory in use. -1 for an unknown kind. */
API int64_t sim_live(const char *kind) {
    LOCKED;
    if (strcmp(kind, "bytes") == 0) return memory_live_bytes();
    for (int i = 0; i < KINDS; i++)
        if (strcmp(kind, KIND_NAMES[i]) == 0) return handle_count((enum kind)i);
    return -1;
}

/* Free everything and forget everything: the state before aclInit. No other thread may be inside the library. */
API void sim_reset(void) {
    LOCKED;
    model_reset_all();
    dataset_reset_all();
    desc_reset_all();
    config_reset_all();
    device_reset_all();
    memory_reset();
    fault_count = 0;
    initialised = finalised = false;
    mine.count = 0;
}

static bool is_exported(const char *function) {
    Dl_info self;
    if (strncmp(function, "acl", 3) != 0 || dladdr((void *)(uintptr_t)&sim_reset, &self) == 0) return false;
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) return false;
    bool found = dlsym(library, function) != NULL;
    dlclose(library);
    return found;
}

/* Make the k-th call of `function` from now fail (k = 1 is the next): mode "fail" once, "oom" once and for lack of memory,
 * "sticky" then and ever after. Returns 0, or -1 for an unknown function, mode or k, or when too many are pending. */
API int sim_fault(const char *function, int k, const char *mode) {
    LOCKED;
    bool sticky = strcmp(mode, "sticky") == 0, out_of_memory = strcmp(mode, "oom") == 0;
    if (k < 1 || fault_count == FAULTS || strlen(function) >= sizeof faults[0].function || !is_exported(function)) return -1;
    if (!sticky && !out_of_memory && strcmp(mode, "fail") != 0) return -1;
    struct fault *fault = &faults[fault_count++];
    snprintf(fault->function, sizeof fault->function, "%s", function);
    fault->countdown = k;
    fault->sticky = sticky;
    fault->out_of_memory = out_of_memory;
    return 0;
}
