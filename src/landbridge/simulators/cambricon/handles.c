/* The registry of live objects: a handle is checked by its address before anything is read through it. */
#include <stdlib.h>

#include "sim.h"

#define BUCKETS 1024

struct entry {
    struct entry *next;
    void *handle;
    enum kind kind;
};

static struct entry *buckets[BUCKETS];
static int64_t counts[KINDS];

static struct entry **bucket_of(const void *handle) { return &buckets[((uintptr_t)handle >> 4) % BUCKETS]; }

bool object_register(enum kind kind, void *handle) {
    LOCKED;
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL) return false;
    struct entry **bucket = bucket_of(handle);
    *entry = (struct entry){.next = *bucket, .handle = handle, .kind = kind};
    *bucket = entry;
    counts[kind]++;
    return true;
}

void object_forget(enum kind kind, const void *handle) {
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

void *object_new(enum kind kind, size_t size) {
    void *handle = calloc(1, size);
    if (handle == NULL || object_register(kind, handle)) return handle;
    free(handle);
    return NULL;
}

void object_drop(enum kind kind, void *handle) {
    object_forget(kind, handle);
    free(handle);
}

bool object_is(enum kind kind, const void *handle) {
    LOCKED;
    for (const struct entry *entry = *bucket_of(handle); entry != NULL; entry = entry->next)
        if (entry->handle == handle && entry->kind == kind) return true;
    return false;
}

int64_t object_count(enum kind kind) {
    LOCKED;
    return counts[kind];
}

void *object_any(enum kind kind) {
    LOCKED;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *entry = buckets[i]; entry != NULL; entry = entry->next)
            if (entry->kind == kind) return entry->handle;
    return NULL;
}
