/* Devices and queues. Which device is current is a matter of the thread. Work waits in a queue until somebody waits for it. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define HANDLE_BASE ((cnrtDev_t)0x4D4C5500) /* so that an ordinal in place of a handle is noticed */
#define FAKE_HANDLE ((cnrtDev_t)0x46414B45)

struct queue {
    int device;
};

static uint64_t generation = 1; /* sim_reset ends the currency of every thread's device */
static _Thread_local struct {
    int device;
    uint64_t generation;
} current;

int device_current(void) { return current.generation == generation ? current.device : -1; }

void device_forget_all(void) {
    generation++;
    for (void *queue; (queue = handle_any(K_QUEUE)) != NULL;) handle_drop(K_QUEUE, queue);
}

API cnrtRet_t cnrtGetDeviceCount(unsigned int *count) {
    ENTER(NEEDS_INIT);
    REQUIRE(count);
    *count = sim_is_fake() ? 0 : DEVICES;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetDeviceHandle(cnrtDev_t *device, int ordinal) {
    ENTER(NEEDS_INIT);
    REQUIRE(device);
    if (sim_is_fake()) {
        if (ordinal != -1) return fail_with(CNRT_RET_ERR_NODEV, "device %d; the fake device is -1", ordinal);
        *device = FAKE_HANDLE;
        return CNRT_RET_SUCCESS;
    }
    if (ordinal < 0 || ordinal >= DEVICES) return fail_with(CNRT_RET_ERR_NODEV, "device %d, the range is [0, %d)", ordinal, DEVICES);
    *device = HANDLE_BASE + (cnrtDev_t)ordinal;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtSetCurrentDevice(cnrtDev_t device) {
    ENTER(NEEDS_INIT);
    if (sim_is_fake()) return device == FAKE_HANDLE ? CNRT_RET_SUCCESS : fail_with(CNRT_RET_ERR_NODEV, "not the handle of the fake device");
    if (device < HANDLE_BASE || device >= HANDLE_BASE + DEVICES)
        return misuse(CNRT_RET_ERR_NODEV, "%#llx is no device handle; cnrtGetDeviceHandle gives one", (unsigned long long)device);
    current.device = (int)(device - HANDLE_BASE);
    current.generation = generation;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetDeviceInfo(cnrtDeviceInfo_t *info, int ordinal) {
    ENTER(NEEDS_INIT | NEEDS_NO_FAKE);
    REQUIRE(info);
    if (ordinal < 0 || ordinal >= DEVICES) return fail_with(CNRT_RET_ERR_NODEV, "device %d, the range is [0, %d)", ordinal, DEVICES);
    const char *name = sim_core() == CNRT_MLU220 ? "MLU220" : sim_core() == CNRT_MLU290 ? "MLU290" : "MLU270";
    *info = (cnrtDeviceInfo_t){.core_version = sim_core(), .core_num = 16};
    snprintf(info->device_name, sizeof info->device_name, "%s (simulated)", name);
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtSyncDevice(void) {
    ENTER(NEEDS_REAL_DEVICE);
    return jobs_run(device_current(), NULL);
}

/* --- queues --------------------------------------------------------------------------------------------------------------- */

cnrtRet_t queue_check(cnrtQueue_t queue) {
    LOCKED;
    if (!handle_is(K_QUEUE, queue)) return misuse(CNRT_RET_ERR_QUEUE, "queue %p does not exist", queue);
    int device = ((struct queue *)queue)->device;
    if (device == device_current()) return CNRT_RET_SUCCESS;
    return misuse(CNRT_RET_ERR_QUEUE, "queue %p is on device %d, this thread's current device is %d", queue, device, device_current());
}

API cnrtRet_t cnrtCreateQueue(cnrtQueue_t *queue) {
    ENTER(NEEDS_REAL_DEVICE);
    REQUIRE(queue);
    struct queue *made = handle_new(K_QUEUE, sizeof *made);
    if (made == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "out of host memory");
    made->device = device_current();
    *queue = made;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtDestroyQueue(cnrtQueue_t queue) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    cnrtRet_t code = queue_check(queue);
    if (code != CNRT_RET_SUCCESS) return code;
    if (jobs_pending(queue)) return misuse(CNRT_RET_ERR_BUSY, "work waits in queue %p; call cnrtSyncQueue first", queue);
    handle_drop(K_QUEUE, queue);
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtSyncQueue(cnrtQueue_t queue) {
    ENTER(NEEDS_REAL_DEVICE);
    cnrtRet_t code = queue_check(queue);
    return code != CNRT_RET_SUCCESS ? code : jobs_run(device_current(), queue);
}

API cnrtRet_t cnrtQueryQueue(cnrtQueue_t queue) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    cnrtRet_t code = queue_check(queue);
    if (code != CNRT_RET_SUCCESS || !jobs_pending(queue)) return code;
    return fail_with(CNRT_RET_ERR_NOT_READY, "work waits in queue %p", queue);
}
