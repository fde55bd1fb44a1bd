/* Devices, contexts and streams. A context is current per thread; its id tells a destroyed one from another at its address. */
#include <stdlib.h>

#include "sim.h"

struct stream {
    uint64_t context;
};

static uint64_t next_id = 1;
static struct {
    struct context *context; /* the default one, shared by the threads that set the device */
    int references;
} defaults[DEVICES];

static _Thread_local struct {
    struct context *context;
    uint64_t id;
} current;

struct context *context_current(void) {
    LOCKED;
    if (current.context == NULL || !handle_is(K_CONTEXT, current.context)) return NULL;
    return current.context->id == current.id ? current.context : NULL;
}

bool context_is_current(uint64_t id) {
    LOCKED;
    struct context *now = context_current();
    return now != NULL && now->id == id;
}

static void make_current(struct context *context) {
    current.context = context;
    current.id = context ? context->id : 0;
}

static struct context *context_new(int device, bool is_default) {
    struct context *context = handle_new(K_CONTEXT, sizeof *context);
    if (context != NULL) *context = (struct context){.id = next_id++, .device = device, .is_default = is_default};
    return context;
}

static aclError check_device(int32_t device) {
    if (device >= 0 && device < DEVICES) return ACL_SUCCESS;
    return fail(ACL_ERROR_RT_INVALID_DEVICEID, "Invalid device ID %d, the range is [0, %d)", device, DEVICES);
}

API aclError aclrtSetDevice(int32_t device) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    aclError error = check_device(device);
    if (error != ACL_SUCCESS) return error;
    if (defaults[device].context == NULL) {
        defaults[device].context = context_new(device, true);
        if (defaults[device].context == NULL) return ACL_ERROR_BAD_ALLOC;
    }
    defaults[device].references++;
    make_current(defaults[device].context);
    return ACL_SUCCESS;
}

API aclError aclrtResetDevice(int32_t device) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    aclError error = check_device(device);
    if (error != ACL_SUCCESS) return error;
    if (defaults[device].references == 0)
        return fail(ACL_ERROR_RT_INVALID_DEVICEID, "device %d is not set; aclrtSetDevice comes first", device);
    if (--defaults[device].references > 0) return ACL_SUCCESS;
    handle_drop(K_CONTEXT, defaults[device].context);
    defaults[device].context = NULL;
    return ACL_SUCCESS;
}

API aclError aclrtGetDevice(int32_t *device) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (device == NULL) return fail(ACL_ERROR_INVALID_PARAM, "deviceId is NULL");
    *device = context_current()->device;
    return ACL_SUCCESS;
}

API aclError aclrtGetDeviceCount(uint32_t *count) {
    ENTER_ERROR(NEEDS_INIT);
    if (count == NULL) return fail(ACL_ERROR_INVALID_PARAM, "count is NULL");
    *count = DEVICES;
    return ACL_SUCCESS;
}

API aclError aclrtGetRunMode(int *mode) {
    ENTER_ERROR(NEEDS_INIT);
    if (mode == NULL) return fail(ACL_ERROR_INVALID_PARAM, "runMode is NULL");
    *mode = ACL_HOST;
    return ACL_SUCCESS;
}

API aclError aclrtSynchronizeDevice(void) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return ACL_SUCCESS;
}

/* --- contexts ------------------------------------------------------------------------------------------------------------- */

API aclError aclrtCreateContext(aclrtContext *context, int32_t device) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    if (context == NULL) return fail(ACL_ERROR_INVALID_PARAM, "context is NULL");
    aclError error = check_device(device);
    if (error != ACL_SUCCESS) return error;
    struct context *made = context_new(device, false);
    if (made == NULL) return ACL_ERROR_BAD_ALLOC;
    make_current(made);
    *context = made;
    return ACL_SUCCESS;
}

API aclError aclrtDestroyContext(aclrtContext context) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    if (!handle_is(K_CONTEXT, context)) return fail(ACL_ERROR_RT_CONTEXT_NULL, "context %p does not exist", context);
    if (((struct context *)context)->is_default)
        return fail(ACL_ERROR_RT_PARAM_INVALID, "the default context cannot be destroyed; call aclrtResetDevice");
    handle_drop(K_CONTEXT, context);
    return ACL_SUCCESS;
}

API aclError aclrtSetCurrentContext(aclrtContext context) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    if (!handle_is(K_CONTEXT, context)) return fail(ACL_ERROR_RT_CONTEXT_NULL, "context %p does not exist", context);
    make_current(context);
    return ACL_SUCCESS;
}

API aclError aclrtGetCurrentContext(aclrtContext *context) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (context == NULL) return fail(ACL_ERROR_INVALID_PARAM, "context is NULL");
    *context = context_current();
    return ACL_SUCCESS;
}

/* --- streams: work is done at once, so that a stream only has to be the right one ------------------------------------------- */

aclError stream_check(aclrtStream stream) {
    LOCKED;
    if (stream == NULL) return ACL_SUCCESS; /* the default stream of the current context */
    if (!handle_is(K_STREAM, stream)) return fail(ACL_ERROR_RT_PARAM_INVALID, "stream %p does not exist", stream);
    if (!context_is_current(((struct stream *)stream)->context))
        return fail(ACL_ERROR_RT_STREAM_CONTEXT, "stream %p is not in current ctx", stream);
    return ACL_SUCCESS;
}

API aclError aclrtCreateStream(aclrtStream *stream) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (stream == NULL) return fail(ACL_ERROR_INVALID_PARAM, "stream is NULL");
    struct stream *made = handle_new(K_STREAM, sizeof *made);
    if (made == NULL) return ACL_ERROR_BAD_ALLOC;
    made->context = context_current()->id;
    *stream = made;
    return ACL_SUCCESS;
}

API aclError aclrtDestroyStream(aclrtStream stream) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (stream == NULL) return fail(ACL_ERROR_INVALID_PARAM, "stream is NULL");
    aclError error = stream_check(stream);
    if (error == ACL_SUCCESS) handle_drop(K_STREAM, stream);
    return error;
}

API aclError aclrtSynchronizeStream(aclrtStream stream) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return stream_check(stream);
}

API aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout_ms) {
    ENTER_ERROR(NEEDS_CONTEXT);
    if (timeout_ms < -1) return fail(ACL_ERROR_RT_PARAM_INVALID, "timeout %d is less than -1", timeout_ms);
    return stream_check(stream);
}

void device_reset_all(void) {
    for (void *handle; (handle = handle_any(K_STREAM)) != NULL;) handle_drop(K_STREAM, handle);
    for (void *handle; (handle = handle_any(K_CONTEXT)) != NULL;) handle_drop(K_CONTEXT, handle);
    for (int i = 0; i < DEVICES; i++) defaults[i].context = NULL, defaults[i].references = 0;
}
