/* Preloaded into a process: makes the n-th allocation fail of those that one library makes, and counts what the library holds.
 *
 * A call is the library's when it returns to an address in it. Starting a thread and keeping a value for one count as allocations.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { MOST = 128 };

static uintptr_t start, end;
static atomic_long countdown, calls;
static _Atomic(void *) blocks[MOST]; /* that the library has */

/* Watch the library between two addresses. */
void watch_library(uintptr_t from, uintptr_t to) { start = from, end = to; }

/* Let the n-th call from now fail; 0: none. Returns how many there were since the last time. */
long failing_malloc(long n) {
    countdown = n;
    return atomic_exchange(&calls, 0);
}

/* Blocks that the library has and did not give back. */
long live_blocks(void) {
    long count = 0;
    for (int i = 0; i < MOST; ++i) count += blocks[i] != NULL;
    return count;
}

static int is_its(void *caller) { return (uintptr_t)caller >= start && (uintptr_t)caller < end; }

static int fails(void *caller) {
    if (!is_its(caller)) return 0;
    ++calls;
    return countdown > 0 && --countdown == 0;
}

/* Keep account of a block that the library got. */
static void *noted(void *caller, void *block) {
    for (int i = 0; block != NULL && is_its(caller) && i < MOST; ++i) {
        void *nothing = NULL;
        if (atomic_compare_exchange_strong(&blocks[i], &nothing, block)) break;
    }
    return block;
}

#define CALLER __builtin_return_address(0)
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void *malloc(size_t size) { return fails(CALLER) ? NULL : noted(CALLER, __libc_malloc(size)); }

void *calloc(size_t count, size_t size) { return fails(CALLER) ? NULL : noted(CALLER, __libc_calloc(count, size)); }

void *aligned_alloc(size_t alignment, size_t size) { return fails(CALLER) ? NULL : noted(CALLER, __libc_memalign(alignment, size)); }

int posix_memalign(void **result, size_t alignment, size_t size) {
    void *found = fails(CALLER) ? NULL : noted(CALLER, __libc_memalign(alignment, size));
    if (found == NULL) return ENOMEM;
    *result = found;
    return 0;
}

/* Whoever calls it: a compiler may jump to it, so that the library is not where it returns to. */
void free(void *pointer) {
    for (int i = 0; pointer != NULL && i < MOST; ++i) {
        void *block = pointer;
        if (atomic_compare_exchange_strong(&blocks[i], &block, NULL)) break;
    }
    __libc_free(pointer);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    return fails(CALLER) ? EAGAIN : REAL(pthread_create)(thread, attributes, run, argument);
}

int pthread_key_create(pthread_key_t *key, void (*destroy)(void *)) { return fails(CALLER) ? EAGAIN : REAL(pthread_key_create)(key, destroy); }

int pthread_setspecific(pthread_key_t key, const void *value) { return fails(CALLER) ? ENOMEM : REAL(pthread_setspecific)(key, value); }

int pthread_attr_init(pthread_attr_t *attributes) { return fails(CALLER) ? ENOMEM : REAL(pthread_attr_init)(attributes); }
