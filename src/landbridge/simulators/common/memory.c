/* Device memory: addresses lie in a reserved range without access rights, the bytes elsewhere.
 *
 * An address is a multiple of 64 and of nothing more, and between two buffers lies a gap, so that neither a hidden alignment
 * nor an overrun works by luck. Fresh memory is not zero. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common.h"

#define PAGE 4096u
#define ALIGNMENT 64u
#define FRESH 0xCD
#define OVERRUN 0x5A
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

int memory_init(size_t bytes_per_device) {
    for (int i = 0; i < DEVICES; i++) {
        if (devices[i].used > 0 || devices[i].count > 0) continue; /* initialised again: what lives keeps its place */
        size_t range = ROUND_UP(4 * bytes_per_device, PAGE) + ((size_t)1 << 30);
        if (devices[i].base != 0) munmap((void *)devices[i].base, devices[i].range);
        devices[i].base = 0;
        void *base = mmap(NULL, range, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) return report(VENDOR.no_device_memory, "simulator: no address range of %zu bytes to reserve", range);
        devices[i].base = (uintptr_t)base;
        devices[i].range = range;
        devices[i].capacity = bytes_per_device;
    }
    return 0;
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

size_t memory_capacity(int device) {
    LOCKED;
    return devices[device].capacity;
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

int memory_charge(int device, size_t bytes) {
    LOCKED;
    if (bytes > memory_free_bytes(device))
        return report(VENDOR.no_device_memory, "device %d: %zu bytes requested, %zu of %zu free", device, bytes, memory_free_bytes(device),
                      devices[device].capacity);
    devices[device].used += bytes;
    return 0;
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

unsigned char *memory_view(const void *pointer, size_t size, int device, int code, const char *what) {
    LOCKED;
    int owner = device_of(pointer);
    if (owner < 0) {
        report(code, "%s %p is not device memory", what, pointer);
        return NULL;
    }
    if (owner != device) {
        report(code, "%s %p is memory of device %d, the current %s %d", what, pointer, owner, VENDOR.current, device);
        return NULL;
    }
    bool holds;
    size_t index = find(owner, (uintptr_t)pointer, &holds);
    if (!holds) {
        report(code, "%s %p is not in any live device buffer", what, pointer);
        return NULL;
    }
    const struct allocation *found = &devices[owner].allocations[index];
    size_t offset = (uintptr_t)pointer - found->address;
    if (size > found->size - offset) {
        report(code, "%s %p: %zu bytes from offset %zu on do not fit in the device buffer of %zu bytes", what, pointer, size, offset,
               found->size);
        return NULL;
    }
    return found->bytes + offset;
}

void memory_overrun(const void *end, int device) {
    LOCKED;
    bool holds;
    size_t index = find(device, (uintptr_t)end, &holds);
    if (!holds) return;
    const struct allocation *found = &devices[device].allocations[index];
    size_t offset = (uintptr_t)end - found->address, left = found->size - offset;
    memset(found->bytes + offset, OVERRUN, left < ALIGNMENT ? left : ALIGNMENT);
}

/* --- allocation --------------------------------------------------------------------------------------------------------- */

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

int memory_allocate(int device, size_t size, size_t charged, void **pointer) {
    LOCKED;
    int code = memory_charge(device, charged);
    if (code != 0) return code;
    size_t index;
    uintptr_t address = find_gap(device, size, &index);
    unsigned char *bytes = aligned_alloc(64, ROUND_UP(size, 64));
    if (address == 0 || bytes == NULL || !grow(device) || !handle_register(K_BUFFER, (void *)address)) {
        free(bytes);
        memory_release(device, charged);
        return report(VENDOR.no_device_memory, "simulator: the host has no room for a device buffer of %zu bytes", size);
    }
    memset(bytes, FRESH, size);
    struct allocation *slot = &devices[device].allocations[index];
    memmove(slot + 1, slot, (devices[device].count - index) * sizeof *slot);
    *slot = (struct allocation){.address = address, .size = size, .charged = charged, .bytes = bytes};
    devices[device].count++;
    *pointer = (void *)address;
    return 0;
}

bool memory_drop(void *pointer) {
    LOCKED;
    int device = device_of(pointer);
    bool holds = false;
    size_t index = device < 0 ? 0 : find(device, (uintptr_t)pointer, &holds);
    if (!holds || devices[device].allocations[index].address != (uintptr_t)pointer) return false;
    struct allocation *slot = &devices[device].allocations[index];
    memory_release(device, slot->charged);
    handle_forget(K_BUFFER, pointer);
    free(slot->bytes);
    memmove(slot, slot + 1, (--devices[device].count - index) * sizeof *slot);
    return true;
}
