/* Device memory: addresses lie in a reserved range without access rights, the bytes elsewhere.
 *
 * Between two buffers lies a gap, so that an overrun does not work by luck. Fresh memory is not zero. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim.h"

#define PAGE 4096u
#define ALIGNMENT 64u
#define FRESH 0xCD
#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

struct allocation {
    uintptr_t address;
    size_t size;
    unsigned char *bytes;
};

static struct {
    uintptr_t base;
    size_t range; /* of addresses */
    size_t capacity, used;
    struct allocation *allocations; /* by address */
    size_t count, room;
} devices[DEVICES];

cnrtRet_t device_memory_init(size_t bytes_per_device) {
    for (int i = 0; i < DEVICES; i++) {
        if (devices[i].count > 0) continue; /* cnrtInit after cnrtDestroy: what lives keeps its place */
        size_t range = ROUND_UP(4 * bytes_per_device, PAGE) + ((size_t)1 << 30);
        if (devices[i].base != 0) munmap((void *)devices[i].base, devices[i].range);
        devices[i].base = 0;
        void *base = mmap(NULL, range, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) return fail_with(CNRT_RET_ERR_NOMEM, "simulator: no address range of %zu bytes to reserve", range);
        devices[i].base = (uintptr_t)base;
        devices[i].range = range;
        devices[i].capacity = bytes_per_device;
    }
    return CNRT_RET_SUCCESS;
}

void device_memory_reset(void) {
    for (int i = 0; i < DEVICES; i++) {
        for (size_t k = 0; k < devices[i].count; k++) {
            object_forget(K_BUFFER, (void *)devices[i].allocations[k].address);
            free(devices[i].allocations[k].bytes);
        }
        free(devices[i].allocations);
        devices[i].allocations = NULL;
        devices[i].count = devices[i].room = devices[i].used = 0;
    }
    for (void *host; (host = object_any(K_HOST)) != NULL;) object_drop(K_HOST, host);
}

int64_t device_memory_live(void) {
    int64_t total = 0;
    for (int i = 0; i < DEVICES; i++) total += (int64_t)devices[i].used;
    return total;
}

static int device_of(const void *pointer) {
    uintptr_t address = (uintptr_t)pointer;
    for (int i = 0; i < DEVICES; i++)
        if (devices[i].base != 0 && address >= devices[i].base && address - devices[i].base < devices[i].range) return i;
    return -1;
}

/* The index of the allocation that holds `address`; -1 when none does. */
static int64_t find(int device, uintptr_t address) {
    size_t low = 0, high = devices[device].count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (devices[device].allocations[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return -1;
    const struct allocation *below = &devices[device].allocations[low - 1];
    return address - below->address < below->size ? (int64_t)low - 1 : -1;
}

unsigned char *device_memory_view(const void *pointer, size_t size, int device, cnrtRet_t code, const char *what) {
    int owner = device_of(pointer);
    if (owner < 0) {
        fail_with(code, "%s %p is not device memory", what, pointer);
        return NULL;
    }
    if (owner != device) {
        fail_with(code, "%s %p is memory of device %d, the current device is %d", what, pointer, owner, device);
        return NULL;
    }
    int64_t index = find(owner, (uintptr_t)pointer);
    if (index < 0) {
        fail_with(code, "%s %p is not in any live device buffer", what, pointer);
        return NULL;
    }
    const struct allocation *found = &devices[owner].allocations[index];
    size_t offset = (uintptr_t)pointer - found->address;
    if (size > found->size - offset) {
        fail_with(code, "%s %p: %zu bytes from offset %zu on do not fit in the device buffer of %zu bytes", what, pointer, size, offset,
                  found->size);
        return NULL;
    }
    return found->bytes + offset;
}

/* --- allocation ----------------------------------------------------------------------------------------------------------- */

/* The lowest gap that takes `size` bytes, and the place it has in the table; 0 when the range is full. */
static uintptr_t find_gap(int device, size_t size, size_t *index) {
    uintptr_t start = devices[device].base + PAGE;
    for (*index = 0; *index < devices[device].count; ++*index) {
        const struct allocation *next = &devices[device].allocations[*index];
        if (next->address - start >= ALIGNMENT + size + PAGE) break;
        start = ROUND_UP(next->address + next->size, PAGE) + PAGE;
    }
    uintptr_t end = devices[device].base + devices[device].range;
    return end > start && end - start >= ALIGNMENT + size + PAGE ? start + ALIGNMENT : 0;
}

static bool grow(int device) {
    if (devices[device].count < devices[device].room) return true;
    size_t room = devices[device].room ? 2 * devices[device].room : 64;
    struct allocation *grown = realloc(devices[device].allocations, room * sizeof *grown);
    if (grown == NULL) return false;
    devices[device].allocations = grown;
    devices[device].room = room;
    return true;
}

API cnrtRet_t cnrtMalloc(void **pointer, size_t size) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    REQUIRE(pointer);
    int device = device_current();
    if (size == 0) return fail_with(CNRT_RET_ERR_INVALID, "bytes is 0");
    if (size > devices[device].capacity - devices[device].used)
        return fail_with(CNRT_RET_ERR_NOMEM, "device %d: %zu bytes requested, %zu of %zu free", device, size,
                         devices[device].capacity - devices[device].used, devices[device].capacity);
    size_t index;
    uintptr_t address = find_gap(device, size, &index);
    unsigned char *bytes = malloc(size);
    if (address == 0 || bytes == NULL || !grow(device) || !object_register(K_BUFFER, (void *)address)) {
        free(bytes);
        return fail_with(CNRT_RET_ERR_NOMEM, "simulator: the host has no room for a device buffer of %zu bytes", size);
    }
    memset(bytes, FRESH, size);
    struct allocation *slot = &devices[device].allocations[index];
    memmove(slot + 1, slot, (devices[device].count - index) * sizeof *slot);
    *slot = (struct allocation){.address = address, .size = size, .bytes = bytes};
    devices[device].count++;
    devices[device].used += size;
    *pointer = (void *)address;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtFree(void *pointer) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    REQUIRE(pointer);
    int device = device_of(pointer);
    int64_t index = device < 0 ? -1 : find(device, (uintptr_t)pointer);
    if (index < 0 || devices[device].allocations[index].address != (uintptr_t)pointer)
        return fail_with(CNRT_RET_ERR_INVALID_POINTER, "%p was not returned by cnrtMalloc, or is freed already", pointer);
    struct allocation *slot = &devices[device].allocations[index];
    devices[device].used -= slot->size;
    object_forget(K_BUFFER, pointer);
    free(slot->bytes);
    memmove(slot, slot + 1, (--devices[device].count - (size_t)index) * sizeof *slot);
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtMallocHost(void **pointer, size_t size, int type) {
    ENTER(NEEDS_REAL_DEVICE);
    REQUIRE(pointer);
    (void)type;
    if (size == 0) return fail_with(CNRT_RET_ERR_INVALID, "bytes is 0");
    void *made = size > SIZE_MAX / 2 ? NULL : object_new(K_HOST, size);
    if (made == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "host: %zu bytes requested", size);
    *pointer = made;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtFreeHost(void *pointer) {
    ENTER(NEEDS_REAL_DEVICE);
    if (!object_is(K_HOST, pointer)) return fail_with(CNRT_RET_ERR_INVALID_POINTER, "%p was not returned by cnrtMallocHost", pointer);
    object_drop(K_HOST, pointer);
    return CNRT_RET_SUCCESS;
}

/* --- copies --------------------------------------------------------------------------------------------------------------- */

static const char *const DIRECTIONS[] = {"HOST2DEV (0)", "DEV2DEV (1)", "DEV2HOST (2)", "HOST2HOST (3)"};

/* One end of a copy, which must be where the direction says. */
static unsigned char *copy_end(const void *pointer, size_t size, bool on_device, int direction, const char *what) {
    if (on_device != (device_of(pointer) >= 0)) {
        fail_with(CNRT_RET_ERR_MEMCPY, "%s %p is %s memory, but the direction is %s", what, pointer, on_device ? "host" : "device",
                  DIRECTIONS[direction]);
        return NULL;
    }
    if (!on_device) return (unsigned char *)(uintptr_t)pointer;
    return device_memory_view(pointer, size, device_current(), CNRT_RET_ERR_MEMCPY, what);
}

static cnrtRet_t copy(void *dst, const void *src, size_t size, int direction) {
    LOCKED;
    if (dst == NULL || src == NULL) return fail_with(CNRT_RET_ERR_INVALID_POINTER, "%s is NULL", dst == NULL ? "dst" : "src");
    if (size == 0) return fail_with(CNRT_RET_ERR_INVALID, "bytes is 0");
    if (direction < CNRT_MEM_TRANS_DIR_HOST2DEV || direction > CNRT_MEM_TRANS_DIR_HOST2HOST)
        return fail_with(CNRT_RET_ERR_INVALID, "direction %d is not in [0, 3]", direction);
    bool from_device = direction == CNRT_MEM_TRANS_DIR_DEV2HOST || direction == CNRT_MEM_TRANS_DIR_DEV2DEV;
    bool to_device = direction == CNRT_MEM_TRANS_DIR_HOST2DEV || direction == CNRT_MEM_TRANS_DIR_DEV2DEV;
    const unsigned char *source = copy_end(src, size, from_device, direction, "src");
    unsigned char *destination = source == NULL ? NULL : copy_end(dst, size, to_device, direction, "dst");
    if (destination == NULL) return CNRT_RET_ERR_MEMCPY;
    memmove(destination, source, size);
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtMemcpy(void *dst, void *src, size_t size, int direction) {
    ENTER(NEEDS_REAL_DEVICE);
    return copy(dst, src, size, direction);
}

/* In the queue's order, after what waits there; cnrtMemcpy waits for nothing, and copies what is there. */
API cnrtRet_t cnrtMemcpyAsync(void *dst, void *src, size_t size, cnrtQueue_t queue, int direction) {
    ENTER(NEEDS_REAL_DEVICE);
    cnrtRet_t code = queue_check(queue);
    if (code == CNRT_RET_SUCCESS) code = jobs_run(device_current(), queue);
    return code != CNRT_RET_SUCCESS ? code : copy(dst, src, size, direction);
}

API cnrtRet_t cnrtMemset(void *pointer, int value, size_t size) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    unsigned char *bytes = device_memory_view(pointer, size, device_current(), CNRT_RET_ERR_INVALID_POINTER, "devptr");
    if (bytes == NULL) return CNRT_RET_ERR_INVALID_POINTER;
    memset(bytes, value, size);
    return CNRT_RET_SUCCESS;
}
