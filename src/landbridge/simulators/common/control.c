/* Injected faults, the count of what lives, and sizes in the environment: how a test steers a simulator. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define FAULTS 32

static struct {
    char function[64];
    int countdown; /* calls until it fires; 1 is the next one */
    bool sticky, out_of_memory;
} faults[FAULTS];
static int fault_count;

int report(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sim_report(code, format, arguments);
    va_end(arguments);
    return code;
}

enum fault fault_take(const char *function) {
    LOCKED;
    enum fault taken = FAULT_NONE;
    int kept = 0;
    for (int i = 0; i < fault_count; i++) {
        bool fires = strcmp(faults[i].function, function) == 0 && faults[i].countdown-- <= 1;
        if (fires) taken = faults[i].out_of_memory ? FAULT_OUT_OF_MEMORY : FAULT_FAIL;
        if (fires && faults[i].sticky) faults[i].countdown = 1;
        if (!fires || faults[i].sticky) faults[kept++] = faults[i];
    }
    fault_count = kept;
    return taken;
}

void faults_clear(void) {
    LOCKED;
    fault_count = 0;
}

size_t environment_size(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    if (text == NULL || *text == '\0') return otherwise;
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    switch (*end) {
        case 'K': return (size_t)value << 10;
        case 'M': return (size_t)value << 20;
        case 'G': return (size_t)value << 30;
        default: return value ? (size_t)value : otherwise;
    }
}

/* How many objects of a kind live; "bytes" is the device memory in use. -1 for an unknown kind. */
API int64_t sim_live(const char *kind) {
    LOCKED;
    if (strcmp(kind, "bytes") == 0) return memory_live_bytes();
    for (int i = 0; VENDOR.kinds[i] != NULL; i++)
        if (strcmp(kind, VENDOR.kinds[i]) == 0) return handle_count(i);
    return -1;
}

static bool is_exported(const char *function) {
    Dl_info self;
    if (strncmp(function, VENDOR.prefix, strlen(VENDOR.prefix)) != 0 || dladdr((void *)(uintptr_t)&sim_live, &self) == 0) return false;
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) return false;
    bool found = dlsym(library, function) != NULL;
    dlclose(library);
    return found;
}

/* Make the k-th call of `function` from now fail (k = 1 is the next): mode "fail" once, "oom" once and for lack of memory,
 * "sticky" then and ever after. Returns 0, or -1 for an unknown function, mode or k, or when too many are pending. */
API int sim_fault(const char *function, int k, const char *mode) {
    LOCKED;
    bool sticky = strcmp(mode, "sticky") == 0, out_of_memory = strcmp(mode, "oom") == 0;
    if (k < 1 || fault_count == FAULTS || strlen(function) >= sizeof faults[0].function || !is_exported(function)) return -1;
    if (!sticky && !out_of_memory && strcmp(mode, "fail") != 0) return -1;
    snprintf(faults[fault_count].function, sizeof faults[0].function, "%s", function);
    faults[fault_count].countdown = k;
    faults[fault_count].sticky = sticky;
    faults[fault_count].out_of_memory = out_of_memory;
    fault_count++;
    return 0;
}
