/* Initialisation, the texts of errors, and what an injected fault returns. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define DEFAULT_MEMORY ((size_t)1 << 30)
#define DEFAULT_VERSION 41004u

static enum { UNUSED, REAL, FAKE } mode;
static int core = CNRT_MLU270;
static unsigned version = DEFAULT_VERSION;

static _Thread_local struct {
    cnrtRet_t code; /* of the last failure on this thread */
    char reason[1024];
    char text[1280];
    const char *function;
} mine;

bool sim_is_fake(void) {
    LOCKED;
    return mode == FAKE;
}

int sim_core(void) { return core; }

unsigned sim_version(void) { return version; }

/* --- error texts -------------------------------------------------------------------------------------------------------- */

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
    {CNRT_RET_ERR_SYS, "CNRT_RET_ERR_SYS"},
    {CNRT_RET_ERR_BUSY, "CNRT_RET_ERR_BUSY"},
    {CNRT_RET_ERR_UNSUPPORTED, "CNRT_RET_ERR_UNSUPPORTED"},
    {CNRT_RET_ERR_INVALID_POINTER, "CNRT_RET_ERR_INVALID_POINTER"},
    {CNRT_RET_ERR_NO_EXIST, "CNRT_RET_ERR_NO_EXIST"},
    {CNRT_RET_ERR_INIT, "CNRT_RET_ERR_INIT"},
    {CNRT_RET_ERR_QUEUE, "CNRT_RET_ERR_QUEUE"},
    {CNRT_RET_ERR_MLU, "CNRT_RET_ERR_MLU"},
    {CNRT_RET_ERR_MEMCPY, "CNRT_RET_ERR_MEMCPY"},
};

int sim_report(int code, const char *format, va_list arguments) {
    vsnprintf(mine.reason, sizeof mine.reason, format, arguments);
    mine.code = code;
    return code;
}

cnrtRet_t fail_with(cnrtRet_t code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sim_report(code, format, arguments);
    va_end(arguments);
    return code;
}

cnrtRet_t misuse(cnrtRet_t code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sim_report(code, format, arguments);
    va_end(arguments);
    note_misuse(mine.function, mine.reason);
    return code;
}

unsigned char *device_view(const void *pointer, size_t size, int device, cnrtRet_t code, const char *what) {
    unsigned char *bytes = memory_view(pointer, size, device, code, what);
    if (bytes == NULL) note_misuse(mine.function, mine.reason);
    return bytes;
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

/* --- entering a call ---------------------------------------------------------------------------------------------------- */

cnrtRet_t sim_enter(const char *function, int needs) {
    mine.function = function;
    enum fault fault = fault_enter(function);
    if (fault == FAULT_LOST) return fail_with(CNRT_RET_ERR_MLU, "simulator: the device is lost");
    if (fault != FAULT_NONE)
        return fail_with(fault == FAULT_OUT_OF_MEMORY ? CNRT_RET_ERR_NOMEM : CNRT_RET_ERR_SYS, "simulator: injected fault");
    LOCKED;
    if (needs & NEEDS_INIT && mode == UNUSED) return misuse(CNRT_RET_ERR_INIT, "cnrt is not initialised; call cnrtInit first");
    if (needs & NEEDS_NO_FAKE && mode == FAKE) return fail_with(CNRT_RET_ERR_NODEV, "the fake device only answers questions about models");
    if (needs & NEEDS_CURRENT && mode == REAL && device_current() < 0)
        return misuse(CNRT_RET_ERR_NODEV, "this thread has no current device; call cnrtSetCurrentDevice on it first");
    if (needs & NEEDS_CURRENT && fault_lost()) return fail_with(CNRT_RET_ERR_MLU, "simulator: the device is lost");
    return CNRT_RET_SUCCESS;
}

/* --- initialisation ----------------------------------------------------------------------------------------------------- */

static int environment_core(void) {
    const char *name = getenv("LANDBRIDGE_SIM_CAMBRICON_CORE");
    if (name != NULL && strcmp(name, "MLU220") == 0) return CNRT_MLU220;
    return name != NULL && strcmp(name, "MLU290") == 0 ? CNRT_MLU290 : CNRT_MLU270;
}

static unsigned environment_version(void) {
    const char *text = getenv("LANDBRIDGE_SIM_CAMBRICON_VERSION");
    unsigned major, minor, patch;
    if (text == NULL || sscanf(text, "%u.%u.%u", &major, &minor, &patch) != 3) return DEFAULT_VERSION;
    return major * 10000 + minor * 100 + patch;
}

API cnrtRet_t cnrtGetVersion(unsigned int *found) {
    ENTER(NEEDS_NOTHING);
    REQUIRE(found);
    *found = version;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtInit(unsigned int flags) {
    ENTER(NEEDS_NOTHING);
    LOCKED;
    if (flags > 1) return fail_with(CNRT_RET_ERR_INVALID, "flags %u, expected 0 (real device) or 1 (fake device)", flags);
    if (mode != UNUSED && (mode == FAKE) != (flags == 1)) return fail_with(CNRT_RET_ERR_INIT, "initialised with other flags");
    if (mode != UNUSED) return CNRT_RET_SUCCESS;
    cnrtRet_t code = memory_init(environment_size("LANDBRIDGE_SIM_CAMBRICON_MEMORY", DEFAULT_MEMORY));
    if (code != CNRT_RET_SUCCESS) return code;
    core = environment_core();
    version = environment_version();
    mode = flags == 1 ? FAKE : REAL;
    return flags == 1 ? fail_with(CNRT_RET_WARNING_FAKE_DEVICE, "no device will execute anything") : CNRT_RET_SUCCESS;
}

API void cnrtDestroy(void) {
    LOCKED;
    mode = UNUSED;
}

/* --- what the parts that are common to all simulators ask for ----------------------------------------------------------- */

const struct vendor VENDOR = {
    .prefix = "cnrt",
    .kinds = {[K_BUFFER] = "buffer",
              [K_HOST] = "host",
              [K_QUEUE] = "queue",
              [K_MODEL] = "model",
              [K_FUNCTION] = "function",
              [K_CONTEXT] = "context",
              [K_PARAM] = "param",
              [K_PARAMS] = "params",
              [K_RESOURCE] = "resource",
              [K_NAMES] = "names"},
    .current = "device is",
    .no_device_memory = CNRT_RET_ERR_NOMEM,
    .no_host_memory = CNRT_RET_ERR_NOMEM,
    .twists = {{"cnrtGetInputDataSize", FAULT_SIZE},
               {"cnrtGetOutputDataSize", FAULT_SIZE},
               {"cnrtGetInputDataType", FAULT_DTYPE},
               {"cnrtGetOutputDataType", FAULT_DTYPE},
               {"cnrtInvokeRuntimeContext", FAULT_NO_WRITE},
               {"cnrtInvokeRuntimeContext", FAULT_OVERRUN},
               {"cnrtInvokeRuntimeContext_V2", FAULT_NO_WRITE},
               {"cnrtInvokeRuntimeContext_V2", FAULT_OVERRUN},
               {"cnrtMemcpy", FAULT_NO_WRITE},
               {"cnrtMemcpyAsync", FAULT_NO_WRITE}},
};

/* Free everything and forget everything: the state before cnrtInit. No other thread may be inside the library. */
API void sim_reset(void) {
    LOCKED;
    context_drop_all();
    model_drop_all();
    param_drop_all();
    device_forget_all();
    memory_reset();
    faults_clear();
    speeds_clear();
    mode = UNUSED;
    mine.code = CNRT_RET_SUCCESS;
}
