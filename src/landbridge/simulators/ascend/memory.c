/* The memory functions of the interface: allocation, copies, fills. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

API aclError aclrtMalloc(void **pointer, size_t size, int policy) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (pointer == NULL) return fail(ACL_ERROR_INVALID_PARAM, "devPtr is NULL");
    if (size == 0) return fail(ACL_ERROR_INVALID_PARAM, "size is 0");
    if (policy < 0 || policy > 5) return fail(ACL_ERROR_INVALID_PARAM, "policy %d is not in [0, 5]", policy);
    int device = context_current()->device;
    if (size > SIZE_MAX / 2) return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "device %d: %zu bytes requested", device, size);
    return memory_allocate(device, size, ROUND_UP(size, 32) + 32, pointer);
}

API aclError aclrtFree(void *pointer) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (pointer == NULL) return fail(ACL_ERROR_INVALID_PARAM, "devPtr is NULL");
    if (!memory_drop(pointer))
        return fail(ACL_ERROR_RT_PARAM_INVALID, "devPtr %p was not returned by aclrtMalloc, or is freed already", pointer);
    return ACL_SUCCESS;
}

API aclError aclrtMallocHost(void **pointer, size_t size) {
    ENTER_ERROR(NEEDS_CONTEXT);
    if (pointer == NULL || size == 0) return fail(ACL_ERROR_INVALID_PARAM, "%s", pointer == NULL ? "hostPtr is NULL" : "size is 0");
    if (size > SIZE_MAX / 2) return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "host: %zu bytes requested", size);
    void *made = aligned_alloc(64, ROUND_UP(size, 64));
    if (made == NULL) return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "host: %zu bytes requested", size);
    if (!handle_register(K_HOST, made)) {
        free(made);
        return ACL_ERROR_BAD_ALLOC;
    }
    *pointer = made;
    return ACL_SUCCESS;
}

API aclError aclrtFreeHost(void *pointer) {
    ENTER_ERROR(NEEDS_CONTEXT);
    if (!handle_is(K_HOST, pointer)) return fail(ACL_ERROR_RT_PARAM_INVALID, "hostPtr %p was not returned by aclrtMallocHost", pointer);
    handle_drop(K_HOST, pointer);
    return ACL_SUCCESS;
}

API aclError aclrtGetMemInfo(int attribute, size_t *available, size_t *total) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (available == NULL || total == NULL) return fail(ACL_ERROR_INVALID_PARAM, "free or total is NULL");
    if (attribute < 0 || attribute > 5) return fail(ACL_ERROR_INVALID_PARAM, "attr %d is not in [0, 5]", attribute);
    int device = context_current()->device;
    *available = memory_free_bytes(device);
    *total = memory_capacity(device);
    return ACL_SUCCESS;
}

/* --- copying -------------------------------------------------------------------------------------------------------------- */

static const char *const COPY_NAMES[] = {"host to host", "host to device", "device to host", "device to device"};

/* The bytes behind one end of a copy, or NULL after fail(). */
static unsigned char *copy_end(const void *pointer, size_t size, bool on_device, int kind, const char *what) {
    if (on_device) return memory_view(pointer, size, context_current()->device, ACL_ERROR_RT_PARAM_INVALID, what);
    if (!memory_is_device(pointer)) return (unsigned char *)(uintptr_t)pointer;
    fail(ACL_ERROR_RT_PARAM_INVALID, "%s %p is device memory, but the kind is %s (%d)", what, pointer, COPY_NAMES[kind], kind);
    return NULL;
}

static aclError copy(void *dst, size_t room, const void *src, size_t count, int kind) {
    LOCKED;
    if (dst == NULL || src == NULL) return fail(ACL_ERROR_INVALID_PARAM, "%s is NULL", dst == NULL ? "dst" : "src");
    if (count == 0) return fail(ACL_ERROR_INVALID_PARAM, "count is 0");
    if (count > room) return fail(ACL_ERROR_INVALID_PARAM, "count %zu is greater than destMax %zu", count, room);
    if (kind < ACL_MEMCPY_HOST_TO_HOST || kind > ACL_MEMCPY_DEVICE_TO_DEVICE)
        return fail(ACL_ERROR_INVALID_PARAM, "kind %d is not in [0, 3]", kind);
    bool from_device = kind == ACL_MEMCPY_DEVICE_TO_HOST || kind == ACL_MEMCPY_DEVICE_TO_DEVICE;
    bool to_device = kind == ACL_MEMCPY_HOST_TO_DEVICE || kind == ACL_MEMCPY_DEVICE_TO_DEVICE;
    const unsigned char *source = copy_end(src, count, from_device, kind, "src");
    unsigned char *destination = source == NULL ? NULL : copy_end(dst, count, to_device, kind, "dst");
    if (destination == NULL) return ACL_ERROR_RT_PARAM_INVALID;
    if (!fault_is(FAULT_NO_WRITE)) memmove(destination, source, count);
    return ACL_SUCCESS;
}

/* The time that a copy takes passes without the lock, so that devices work at the same time. */
static aclError timed_copy(void *dst, size_t room, const void *src, size_t count, int kind) {
    aclError error = copy(dst, room, src, count, kind);
    if (error == ACL_SUCCESS && kind != ACL_MEMCPY_HOST_TO_HOST)
        unit_work(context_current()->device, kind == ACL_MEMCPY_DEVICE_TO_HOST ? UNIT_OUT : UNIT_IN, count);
    return error;
}

API aclError aclrtMemcpy(void *dst, size_t room, const void *src, size_t count, int kind) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return timed_copy(dst, room, src, count, kind);
}

API aclError aclrtMemcpyAsync(void *dst, size_t room, const void *src, size_t count, int kind, aclrtStream stream) {
    ENTER_ERROR(NEEDS_CONTEXT);
    aclError error = stream_check(stream);
    return error != ACL_SUCCESS ? error : timed_copy(dst, room, src, count, kind);
}

static aclError set(void *pointer, size_t room, int32_t value, size_t count) {
    LOCKED;
    if (pointer == NULL) return fail(ACL_ERROR_INVALID_PARAM, "devPtr is NULL");
    if (count > room) return fail(ACL_ERROR_INVALID_PARAM, "count %zu is greater than maxCount %zu", count, room);
    bool on_device = memory_is_device(pointer);
    unsigned char *bytes = copy_end(pointer, count, on_device, 0, "devPtr");
    if (bytes == NULL) return ACL_ERROR_RT_PARAM_INVALID;
    memset(bytes, value, count);
    return ACL_SUCCESS;
}

API aclError aclrtMemset(void *pointer, size_t room, int32_t value, size_t count) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return set(pointer, room, value, count);
}

API aclError aclrtMemsetAsync(void *pointer, size_t room, int32_t value, size_t count, aclrtStream stream) {
    ENTER_ERROR(NEEDS_CONTEXT);
    aclError error = stream_check(stream);
    return error != ACL_SUCCESS ? error : set(pointer, room, value, count);
}
