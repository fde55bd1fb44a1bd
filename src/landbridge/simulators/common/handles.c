/* The registry of live objects: a handle is checked by its address before anything is read through it. */
#include <stdlib.h>

#include "common.h"

#define BUCKETS 1024

struct entry {
    struct entry *next;
    void *handle;
    int kind;
};

static struct entry *buckets[BUCKETS];
static int64_t counts[KINDS_MAX];

static struct entry **bucket_of(const void *handle) { return &buckets[((uintptr_t)handle >> 4) % BUCKETS]; }

bool handle_register(int kind, void *handle) {
    LOCKED;
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL) {
        report(VENDOR.no_host_memory, "out of host memory");
        return false;
    }
    struct entry **bucket = bucket_of(handle);
    *entry = (struct entry){.next = *bucket, .handle = handle, .kind = kind};
    *bucket = entry;
    counts[kind]++;
    return true;
}

void handle_forget(int kind, const void *handle) {
    LOCKED;
    for (struct entry **link = bucket_of(handle); *link != NULL; link = &(*link)->next) {
        struct entry *entry = *link;
        if (entry->handle != handle || entry->kind != kind) continue;
        *link = entry->next;
        counts[kind]--;
        free(entry);
        return;
    }
}

void *handle_new(int kind, size_t size) {
    void *handle = calloc(1, size);
    if (handle == NULL) {
        report(VENDOR.no_host_memory, "out of host memory");
        return NULL;
    }
    if (handle_register(kind, handle)) return handle;
    free(handle);
    return NULL;
}

void handle_drop(int kind, void *handle) {
    handle_forget(kind, handle);
    free(handle);
}

bool handle_is(int kind, const void *handle) {
    LOCKED;
    for (const struct entry *entry = *bucket_of(handle); entry != NULL; entry = entry->next)
        if (entry->handle == handle && entry->kind == kind) return true;
    return false;
}

int64_t handle_count(int kind) {
    LOCKED;
    return counts[kind];
}

void *handle_any(int kind) {
    LOCKED;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *entry = buckets[i]; entry != NULL; entry = entry->next)
            if (entry->kind == kind) return entry->handle;
    return NULL;
}
