/* Initialisation, the texts of errors, and what an injected fault returns. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define MESSAGE 2048
#define MESSAGES 8
#define DEFAULT_MEMORY ((size_t)1 << 30)

static bool initialised;
static bool finalised; /* since the last aclInit, so that a second aclFinalize is told from a first */
static char soc[64] = "Ascend310";

struct messages {
    char text[MESSAGES][MESSAGE]; /* a ring; `count` have been stored since the last fetch */
    unsigned count;
    char fetched[MESSAGES * MESSAGE];
    const char *function;
};
static _Thread_local struct messages mine;

bool sim_initialised(void) {
    LOCKED;
    return initialised;
}

const char *sim_soc(void) { return soc; }

/* --- error texts -------------------------------------------------------------------------------------------------------- */

static const char *message_head(aclError code) {
    if (code == ACL_ERROR_RT_MEMORY_ALLOCATION || code == ACL_ERROR_BAD_ALLOC) return "EL0004: Failed to allocate memory.";
    if (code < 200000) return "EE1001: The argument is invalid.";
    return "E19999: Inner Error!";
}

/* --- misuse --------------------------------------------------------------------------------------------------------------- */

/* Whether a code says that the caller broke a rule. Not: a file that is damaged, a device or memory that is not there. */
static bool is_misuse(aclError code) {
    static const aclError CODES[] = {ACL_ERROR_INVALID_PARAM,
                                     ACL_ERROR_UNINITIALIZE,
                                     ACL_ERROR_MODEL_INPUT_NOT_MATCH,
                                     ACL_ERROR_MODEL_OUTPUT_NOT_MATCH,
                                     ACL_ERROR_MODEL_NOT_DYNAMIC,
                                     ACL_ERROR_REPEAT_FINALIZE,
                                     ACL_ERROR_RT_PARAM_INVALID,
                                     ACL_ERROR_RT_INVALID_DEVICEID,
                                     ACL_ERROR_RT_CONTEXT_NULL,
                                     ACL_ERROR_RT_STREAM_CONTEXT,
                                     ACL_ERROR_RT_MODEL_CONTEXT,
                                     ACL_ERROR_GE_EXEC_MODEL_ID_INVALID,
                                     ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID,
                                     ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID,
                                     ACL_ERROR_GE_DYNAMIC_BATCH_SIZE_INVALID};
    for (size_t i = 0; i < sizeof CODES / sizeof *CODES; i++)
        if (CODES[i] == code) return true;
    return false;
}

/* Asking whether a model has an input of some name is no misuse: that is how gears are found. */
static bool only_asks(const char *function) { return strstr(function, "IndexByName") != NULL; }

void misused(const char *reason) { note_misuse(mine.function, reason); }

int sim_report(int code, const char *format, va_list arguments) {
    char reason[MESSAGE - 256];
    vsnprintf(reason, sizeof reason, format, arguments);
    const char *function = mine.function ? mine.function : "acl";
    if (is_misuse(code) && !only_asks(function)) misused(reason);
    snprintf(mine.text[mine.count++ % MESSAGES], MESSAGE, "%s Reason: %s\n        [FUNC:%s][ERROR:%d]\n", message_head(code), reason,
             function, code);
    return code;
}

aclError fail(aclError code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sim_report(code, format, arguments);
    va_end(arguments);
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

/* --- entering a call ---------------------------------------------------------------------------------------------------- */

static aclError apply_fault(const char *function) {
    enum fault fault = fault_enter(function);
    if (fault == FAULT_NONE) return ACL_SUCCESS;
    if (fault == FAULT_LOST) return fail(ACL_ERROR_RT_AICORE_EXCEPTION, "simulator: the device is lost");
    aclError code = strncmp(function, "aclmdl", 6) == 0 ? ACL_ERROR_GE_FAILURE : ACL_ERROR_RT_FAILURE;
    if (strncmp(function, "aclmdlExecute", 13) == 0) code = ACL_ERROR_RT_MODEL_EXECUTE;
    return fail(fault == FAULT_OUT_OF_MEMORY ? ACL_ERROR_RT_MEMORY_ALLOCATION : code, "simulator: injected fault");
}

aclError sim_enter(const char *function, int needs) {
    mine.fetched[0] = '\0'; /* the last message dies at the next call */
    mine.function = function;
    aclError injected = apply_fault(function);
    if (injected != ACL_SUCCESS) return injected;
    if (needs != NEEDS_NOTHING && !sim_initialised()) return fail(ACL_ERROR_UNINITIALIZE, "acl is not initialised; call aclInit first");
    if (needs == NEEDS_CONTEXT && context_current() == NULL)
        return fail(ACL_ERROR_RT_CONTEXT_NULL,
                    "this thread has no current context; call aclrtSetDevice or aclrtSetCurrentContext on it first");
    if (needs == NEEDS_CONTEXT && fault_lost()) return fail(ACL_ERROR_RT_AICORE_EXCEPTION, "simulator: the device is lost");
    return ACL_SUCCESS;
}

/* --- initialisation ----------------------------------------------------------------------------------------------------- */

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

/* --- what the parts that are common to all simulators ask for ----------------------------------------------------------- */

const struct vendor VENDOR = {
    .prefix = "acl",
    .kinds = {[K_BUFFER] = "buffer",
              [K_HOST] = "host",
              [K_CONTEXT] = "context",
              [K_STREAM] = "stream",
              [K_MODEL] = "model",
              [K_DESC] = "desc",
              [K_DATASET] = "dataset",
              [K_DATABUFFER] = "databuffer",
              [K_TENSORDESC] = "tensordesc",
              [K_CONFIG] = "config"},
    .current = "context is on device",
    .no_device_memory = ACL_ERROR_RT_MEMORY_ALLOCATION,
    .no_host_memory = ACL_ERROR_BAD_ALLOC,
    .twists = {{"aclmdlGetInputSizeByIndex", FAULT_SIZE},
               {"aclmdlGetOutputSizeByIndex", FAULT_SIZE},
               {"aclmdlGetInputDataType", FAULT_DTYPE},
               {"aclmdlGetOutputDataType", FAULT_DTYPE},
               {"aclmdlExecute", FAULT_NO_WRITE},
               {"aclmdlExecute", FAULT_OVERRUN},
               {"aclrtMemcpy", FAULT_NO_WRITE},
               {"aclrtMemcpyAsync", FAULT_NO_WRITE}},
};

/* Free everything and forget everything: the state before aclInit. No other thread may be inside the library. */
API void sim_reset(void) {
    LOCKED;
    model_reset_all();
    dataset_reset_all();
    desc_reset_all();
    config_reset_all();
    device_reset_all();
    memory_reset();
    faults_clear();
    speeds_clear();
    initialised = finalised = false;
    mine.count = 0;
}
