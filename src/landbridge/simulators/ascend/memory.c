/* Device memory: addresses lie in a reserved range without access rights, the bytes elsewhere.
 *
 * An address is a multiple of 64 and of nothing more, and between two buffers lies a gap, so that neither a hidden alignment
 * nor an overrun works by luck. Fresh memory is not zero. */
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
    size_t size, charged;
    unsigned char *bytes;
};

static struct {
    uintptr_t base;
    size_t range; /* of addresses */
    size_t capacity, used;
    struct allocation *allocations; /* by address */
    size_t count, room;
} devices[DEVICES];

static void release_device(int device) {
    for (size_t i = 0; i < devices[device].count; i++) {
        handle_forget(K_BUFFER, (void *)devices[device].allocations[i].address);
        free(devices[device].allocations[i].bytes);
    }
    free(devices[device].allocations);
    devices[device].allocations = NULL;
    devices[device].count = devices[device].room = devices[device].used = 0;
}

aclError memory_init(size_t bytes_per_device) {
    for (int i = 0; i < DEVICES; i++) {
        if (devices[i].used > 0 || devices[i].count > 0) continue; /* aclInit after aclFinalize: what lives keeps its place */
        size_t range = ROUND_UP(4 * bytes_per_device, PAGE) + ((size_t)1 << 30);
        if (devices[i].base != 0) munmap((void *)devices[i].base, devices[i].range);
        devices[i].base = 0;
        void *base = mmap(NULL, range, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "simulator: no address range of %zu bytes to reserve", range);
        devices[i].base = (uintptr_t)base;
        devices[i].range = range;
        devices[i].capacity = bytes_per_device;
    }
    return ACL_SUCCESS;
}

void memory_reset(void) {
    for (int i = 0; i < DEVICES; i++) release_device(i);
    for (void *host; (host = handle_any(K_HOST)) != NULL;) handle_drop(K_HOST, host);
}

static int device_of(const void *pointer) {
    uintptr_t address = (uintptr_t)pointer;
    for (int i = 0; i < DEVICES; i++)
        if (devices[i].base != 0 && address >= devices[i].base && address - devices[i].base < devices[i].range) return i;
    return -1;
}

bool memory_is_device(const void *pointer) {
    LOCKED;
    return device_of(pointer) >= 0;
}

size_t memory_free_bytes(int device) {
    LOCKED;
    return devices[device].capacity - devices[device].used;
}

int64_t memory_live_bytes(void) {
    LOCKED;
    int64_t total = 0;
    for (int i = 0; i < DEVICES; i++) total += (int64_t)devices[i].used;
    return total;
}

aclError memory_charge(int device, size_t bytes) {
    LOCKED;
    if (bytes > memory_free_bytes(device))
        return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "device %d: %zu bytes requested, %zu of %zu free", device, bytes,
                    memory_free_bytes(device), devices[device].capacity);
    devices[device].used += bytes;
    return ACL_SUCCESS;
}

void memory_release(int device, size_t bytes) {
    LOCKED;
    devices[device].used -= bytes;
}

/* The index of the allocation that holds `address`, or of the first one above it (then *holds is false). */
static size_t find(int device, uintptr_t address, bool *holds) {
    size_t low = 0, high = devices[device].count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (devices[device].allocations[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    const struct allocation *below = low > 0 ? &devices[device].allocations[low - 1] : NULL;
    *holds = below != NULL && address - below->address < below->size;
    return *holds ? low - 1 : low;
}

unsigned char *memory_view(const void *pointer, size_t size, int device, aclError code, const char *what) {
    LOCKED;
    int owner = device_of(pointer);
    if (owner < 0) {
        fail(code, "%s %p is not device memory", what, pointer);
        return NULL;
    }
    if (owner != device) {
        fail(code, "%s %p is memory of device %d, the current context is on device %d", what, pointer, owner, device);
        return NULL;
    }
    bool holds;
    size_t index = find(owner, (uintptr_t)pointer, &holds);
    if (!holds) {
        fail(code, "%s %p is not in any live device buffer", what, pointer);
        return NULL;
    }
    const struct allocation *found = &devices[owner].allocations[index];
    size_t offset = (uintptr_t)pointer - found->address;
    if (size > found->size - offset) {
        fail(code, "%s %p: %zu bytes from offset %zu on do not fit in the device buffer of %zu bytes", what, pointer, size, offset,
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

API aclError aclrtMalloc(void **pointer, size_t size, int policy) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (pointer == NULL) return fail(ACL_ERROR_INVALID_PARAM, "devPtr is NULL");
    if (size == 0) return fail(ACL_ERROR_INVALID_PARAM, "size is 0");
    if (policy < 0 || policy > 5) return fail(ACL_ERROR_INVALID_PARAM, "policy %d is not in [0, 5]", policy);
    int device = context_current()->device;
    if (size > SIZE_MAX / 2) return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "device %d: %zu bytes requested", device, size);
    size_t charged = ROUND_UP(size, 32) + 32, index;
    aclError error = memory_charge(device, charged);
    if (error != ACL_SUCCESS) return error;
    uintptr_t address = find_gap(device, size, &index);
    if (devices[device].count == devices[device].room) {
        size_t room = devices[device].room ? 2 * devices[device].room : 64;
        struct allocation *grown = realloc(devices[device].allocations, room * sizeof *grown);
        if (grown != NULL) devices[device].allocations = grown, devices[device].room = room;
    }
    unsigned char *bytes = malloc(size);
    if (address == 0 || bytes == NULL || devices[device].count == devices[device].room || !handle_register(K_BUFFER, (void *)address)) {
        free(bytes);
        memory_release(device, charged);
        return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "simulator: the host has no room for a device buffer of %zu bytes", size);
    }
    memset(bytes, FRESH, size);
    struct allocation *slot = &devices[device].allocations[index];
    memmove(slot + 1, slot, (devices[device].count - index) * sizeof *slot);
    *slot = (struct allocation){.address = address, .size = size, .charged = charged, .bytes = bytes};
    devices[device].count++;
    *pointer = (void *)address;
    return ACL_SUCCESS;
}

API aclError aclrtFree(void *pointer) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    if (pointer == NULL) return fail(ACL_ERROR_INVALID_PARAM, "devPtr is NULL");
    int device = device_of(pointer);
    bool holds = false;
    size_t index = device < 0 ? 0 : find(device, (uintptr_t)pointer, &holds);
    if (!holds || devices[device].allocations[index].address != (uintptr_t)pointer)
        return fail(ACL_ERROR_RT_PARAM_INVALID, "devPtr %p was not returned by aclrtMalloc, or is freed already", pointer);
    struct allocation *slot = &devices[device].allocations[index];
    memory_release(device, slot->charged);
    handle_forget(K_BUFFER, pointer);
    free(slot->bytes);
    memmove(slot, slot + 1, (--devices[device].count - index) * sizeof *slot);
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
    *total = devices[device].capacity;
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
    memmove(destination, source, count);
    return ACL_SUCCESS;
}

API aclError aclrtMemcpy(void *dst, size_t room, const void *src, size_t count, int kind) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return copy(dst, room, src, count, kind);
}

API aclError aclrtMemcpyAsync(void *dst, size_t room, const void *src, size_t count, int kind, aclrtStream stream) {
    ENTER_ERROR(NEEDS_CONTEXT);
    aclError error = stream_check(stream);
    return error != ACL_SUCCESS ? error : copy(dst, room, src, count, kind);
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
