/* The memory functions of the interface: allocation, copies, fills. */
#include <string.h>

#include "sim.h"

API cnrtRet_t cnrtMalloc(void **pointer, size_t size) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    REQUIRE(pointer);
    int device = device_current();
    if (size == 0) return misuse(CNRT_RET_ERR_INVALID, "bytes is 0");
    return memory_allocate(device, size, size, pointer);
}

API cnrtRet_t cnrtFree(void *pointer) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    REQUIRE(pointer);
    if (!memory_drop(pointer))
        return misuse(CNRT_RET_ERR_INVALID_POINTER, "%p was not returned by cnrtMalloc, or is freed already", pointer);
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtMallocHost(void **pointer, size_t size, int type) {
    ENTER(NEEDS_REAL_DEVICE);
    REQUIRE(pointer);
    (void)type;
    if (size == 0) return misuse(CNRT_RET_ERR_INVALID, "bytes is 0");
    void *made = size > SIZE_MAX / 2 ? NULL : handle_new(K_HOST, size);
    if (made == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "host: %zu bytes requested", size);
    *pointer = made;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtFreeHost(void *pointer) {
    ENTER(NEEDS_REAL_DEVICE);
    if (!handle_is(K_HOST, pointer)) return misuse(CNRT_RET_ERR_INVALID_POINTER, "%p was not returned by cnrtMallocHost", pointer);
    handle_drop(K_HOST, pointer);
    return CNRT_RET_SUCCESS;
}

/* --- copies --------------------------------------------------------------------------------------------------------------- */

static const char *const DIRECTIONS[] = {"HOST2DEV (0)", "DEV2DEV (1)", "DEV2HOST (2)", "HOST2HOST (3)"};

/* One end of a copy, which must be where the direction says. */
static unsigned char *copy_end(const void *pointer, size_t size, bool on_device, int direction, const char *what) {
    if (on_device != memory_is_device(pointer)) {
        misuse(CNRT_RET_ERR_MEMCPY, "%s %p is %s memory, but the direction is %s", what, pointer, on_device ? "host" : "device",
               DIRECTIONS[direction]);
        return NULL;
    }
    if (!on_device) return (unsigned char *)(uintptr_t)pointer;
    return device_view(pointer, size, device_current(), CNRT_RET_ERR_MEMCPY, what);
}

static cnrtRet_t copy(void *dst, const void *src, size_t size, int direction) {
    LOCKED;
    if (dst == NULL || src == NULL) return misuse(CNRT_RET_ERR_INVALID_POINTER, "%s is NULL", dst == NULL ? "dst" : "src");
    if (size == 0) return misuse(CNRT_RET_ERR_INVALID, "bytes is 0");
    if (direction < CNRT_MEM_TRANS_DIR_HOST2DEV || direction > CNRT_MEM_TRANS_DIR_HOST2HOST)
        return misuse(CNRT_RET_ERR_INVALID, "direction %d is not in [0, 3]", direction);
    bool from_device = direction == CNRT_MEM_TRANS_DIR_DEV2HOST || direction == CNRT_MEM_TRANS_DIR_DEV2DEV;
    bool to_device = direction == CNRT_MEM_TRANS_DIR_HOST2DEV || direction == CNRT_MEM_TRANS_DIR_DEV2DEV;
    const unsigned char *source = copy_end(src, size, from_device, direction, "src");
    unsigned char *destination = source == NULL ? NULL : copy_end(dst, size, to_device, direction, "dst");
    if (destination == NULL) return CNRT_RET_ERR_MEMCPY;
    if (!fault_is(FAULT_NO_WRITE)) memmove(destination, source, size);
    return CNRT_RET_SUCCESS;
}

/* The time that a copy takes passes without the lock, so that devices work at the same time. */
static cnrtRet_t timed_copy(void *dst, const void *src, size_t size, int direction) {
    cnrtRet_t code = copy(dst, src, size, direction);
    if (code == CNRT_RET_SUCCESS && direction != CNRT_MEM_TRANS_DIR_HOST2HOST)
        unit_work(device_current(), direction == CNRT_MEM_TRANS_DIR_DEV2HOST ? UNIT_OUT : UNIT_IN, size);
    return code;
}

API cnrtRet_t cnrtMemcpy(void *dst, void *src, size_t size, int direction) {
    ENTER(NEEDS_REAL_DEVICE);
    return timed_copy(dst, src, size, direction);
}

/* In the queue's order, after what waits there; cnrtMemcpy waits for nothing, and copies what is there. */
API cnrtRet_t cnrtMemcpyAsync(void *dst, void *src, size_t size, cnrtQueue_t queue, int direction) {
    ENTER(NEEDS_REAL_DEVICE);
    cnrtRet_t code = queue_check(queue);
    if (code == CNRT_RET_SUCCESS) code = jobs_run(device_current(), queue);
    return code != CNRT_RET_SUCCESS ? code : timed_copy(dst, src, size, direction);
}

API cnrtRet_t cnrtMemset(void *pointer, int value, size_t size) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    unsigned char *bytes = device_view(pointer, size, device_current(), CNRT_RET_ERR_INVALID_POINTER, "devptr");
    if (bytes == NULL) return CNRT_RET_ERR_INVALID_POINTER;
    memset(bytes, value, size);
    return CNRT_RET_SUCCESS;
}
