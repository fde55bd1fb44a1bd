/* The memory functions of the interface: allocation, copies, fills. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define PAGE ((size_t)4096)        /* what is locked is whole pages */
#define LOCKED_IS_DEPRECATED 41004 /* not to be used, says cnrt.h of this release */
#define ONLY_MLU270_IS_ASYNCHRONOUS_BEFORE 41004

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

/* Which types of memory of the host there are, and what they are, differs between releases: cnrt.h 4.3.0, 4.7.12, 4.10.4. */
static cnrtRet_t check_type(int type) {
    if (type == CNRT_MEMTYPE_DEFAULT || (type == CNRT_MEMTYPE_LOCKED && sim_version() < LOCKED_IS_DEPRECATED)) return CNRT_RET_SUCCESS;
    return misuse(CNRT_RET_ERR_INVALID, "type %d is none that this release supports", type);
}

API cnrtRet_t cnrtMallocHost(void **pointer, size_t size, int type) {
    ENTER(NEEDS_REAL_DEVICE);
    REQUIRE(pointer);
    cnrtRet_t code = check_type(type);
    if (code != CNRT_RET_SUCCESS) return code;
    if (size == 0) return misuse(CNRT_RET_ERR_INVALID, "bytes is 0");
    void *made = size > SIZE_MAX / 2 ? NULL : aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);
    if (made == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "host: %zu bytes requested", size);
    if (!handle_register(K_HOST, made)) {
        free(made);
        return CNRT_RET_ERR_NOMEM;
    }
    *pointer = made;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtFreeHost(void *pointer) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    if (!handle_is(K_HOST, pointer)) return misuse(CNRT_RET_ERR_INVALID_POINTER, "%p was not returned by cnrtMallocHost", pointer);
    if (jobs_copying(pointer, malloc_usable_size(pointer))) return misuse(CNRT_RET_ERR_BUSY, "a copy of %p waits in a queue", pointer);
    handle_drop(K_HOST, pointer);
    return CNRT_RET_SUCCESS;
}

/* --- copies --------------------------------------------------------------------------------------------------------------- */

static const char *const DIRECTIONS[] = {"HOST2DEV (0)", "DEV2DEV (1)", "DEV2HOST (2)", "HOST2HOST (3)"};

/* One end of a copy, which must be where the direction says. */
static unsigned char *copy_end(const struct copy *copy, const void *pointer, bool on_device, int device, const char *what) {
    if (on_device != memory_is_device(pointer)) {
        misuse(CNRT_RET_ERR_MEMCPY, "%s %p is %s memory, but the direction is %s", what, pointer, on_device ? "host" : "device",
               DIRECTIONS[copy->direction]);
        return NULL;
    }
    if (!on_device) return (unsigned char *)(uintptr_t)pointer;
    return device_view(pointer, copy->size, device, CNRT_RET_ERR_MEMCPY, what);
}

/* Both ends, where they are right. */
static bool copy_ends(const struct copy *copy, int device, unsigned char **dst, const unsigned char **src) {
    bool from_device = copy->direction == CNRT_MEM_TRANS_DIR_DEV2HOST || copy->direction == CNRT_MEM_TRANS_DIR_DEV2DEV;
    bool to_device = copy->direction == CNRT_MEM_TRANS_DIR_HOST2DEV || copy->direction == CNRT_MEM_TRANS_DIR_DEV2DEV;
    *src = copy_end(copy, copy->src, from_device, device, "src");
    *dst = *src == NULL ? NULL : copy_end(copy, copy->dst, to_device, device, "dst");
    return *dst != NULL;
}

static cnrtRet_t copy_check(const struct copy *copy, int last) {
    if (copy->dst == NULL || copy->src == NULL)
        return misuse(CNRT_RET_ERR_INVALID_POINTER, "%s is NULL", copy->dst == NULL ? "dst" : "src");
    if (copy->size == 0) return misuse(CNRT_RET_ERR_INVALID, "bytes is 0");
    if (copy->direction < CNRT_MEM_TRANS_DIR_HOST2DEV || copy->direction > last)
        return misuse(CNRT_RET_ERR_INVALID, "direction %d is not in [0, %d]", copy->direction, last);
    return CNRT_RET_SUCCESS;
}

cnrtRet_t copy_run(const struct copy *copy, int device) {
    LOCKED;
    unsigned char *dst;
    const unsigned char *src;
    if (!copy_ends(copy, device, &dst, &src)) return CNRT_RET_ERR_MEMCPY;
    if (!copy->writes_nothing) memmove(dst, src, copy->size);
    return CNRT_RET_SUCCESS;
}

enum unit copy_unit(const struct copy *copy) { return copy->direction == CNRT_MEM_TRANS_DIR_DEV2HOST ? UNIT_OUT : UNIT_IN; }

/* Waits for nothing, and copies what is there. The time that it takes passes without the lock, so that devices work at the same time. */
API cnrtRet_t cnrtMemcpy(void *dst, void *src, size_t size, int direction) {
    ENTER(NEEDS_REAL_DEVICE);
    struct copy copy = {dst, src, size, direction, fault_is(FAULT_NO_WRITE)};
    cnrtRet_t code = copy_check(&copy, CNRT_MEM_TRANS_DIR_HOST2HOST);
    if (code == CNRT_RET_SUCCESS) code = copy_run(&copy, device_current());
    if (code == CNRT_RET_SUCCESS && direction != CNRT_MEM_TRANS_DIR_HOST2HOST) unit_work(device_current(), copy_unit(&copy), size);
    return code;
}

/* Done when somebody waits for the queue, as all that is in one: memory of the host is read and written no sooner. */
API cnrtRet_t cnrtMemcpyAsync(void *dst, void *src, size_t size, cnrtQueue_t queue, int direction) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    if (sim_core() == CNRT_MLU220 || (sim_core() == CNRT_MLU290 && sim_version() < ONLY_MLU270_IS_ASYNCHRONOUS_BEFORE))
        return misuse(CNRT_RET_ERR_UNSUPPORTED, "this device copies only synchronously");
    struct copy copy = {dst, src, size, direction, fault_is(FAULT_NO_WRITE)};
    cnrtRet_t code = queue_check(queue);
    if (code == CNRT_RET_SUCCESS) code = copy_check(&copy, CNRT_MEM_TRANS_DIR_DEV2HOST);
    unsigned char *to;
    const unsigned char *from;
    if (code == CNRT_RET_SUCCESS && !copy_ends(&copy, device_current(), &to, &from)) code = CNRT_RET_ERR_MEMCPY;
    return code != CNRT_RET_SUCCESS ? code : jobs_copy(queue, &copy);
}

API cnrtRet_t cnrtMemset(void *pointer, int value, size_t size) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    unsigned char *bytes = device_view(pointer, size, device_current(), CNRT_RET_ERR_INVALID_POINTER, "devptr");
    if (bytes == NULL) return CNRT_RET_ERR_INVALID_POINTER;
    memset(bytes, value, size);
    return CNRT_RET_SUCCESS;
}
