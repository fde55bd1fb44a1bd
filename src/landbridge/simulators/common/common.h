/* What all simulated libraries are made of: the lock, injected faults, the registry of handles, device memory.
 *
 * Nothing here knows a vendor. What differs is in VENDOR, and a failure is reported through sim_report(), which the vendor's
 * folder defines as well. Codes are the vendor's; 0 is success for all of them. */
#ifndef LANDBRIDGE_SIMULATORS_COMMON_H
#define LANDBRIDGE_SIMULATORS_COMMON_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For what the library exports; everything else is hidden. */
#define API __attribute__((visibility("default")))

#define DEVICES 4
#define KINDS_MAX 16
#define TWISTS_MAX 16

enum { K_BUFFER, K_HOST, K_FIRST }; /* kinds of handles; a vendor's own begin at K_FIRST */

enum fault {
    FAULT_NONE,
    FAULT_FAIL,
    FAULT_OUT_OF_MEMORY,
    FAULT_LOST, /* the device is, from now on */
    FAULT_HANG,
    FAULT_SLOW,
    FAULT_SIZE, /* from here on: what a call does wrong without saying so */
    FAULT_DTYPE,
    FAULT_NO_WRITE,
    FAULT_OVERRUN
};

struct vendor {
    const char *prefix;               /* of the interface's functions */
    const char *kinds[KINDS_MAX + 1]; /* the names that sim_live takes; NULL ends them */
    const char *current;              /* how a message tells the number of the current device */
    int no_device_memory, no_host_memory;
    struct {
        const char *function;
        enum fault fault;
    } twists[TWISTS_MAX + 1]; /* what functions can do wrong without saying so; NULL ends them */
};
extern const struct vendor VENDOR;

/* Store the text of a failure of the current API call on this thread; returns `code`. */
int sim_report(int code, const char *format, va_list arguments);
/* The same, for the files of this folder. */
int report(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Take note, for sim_misuse(), that a function was called against a rule of the interface, and not only for what there is not. */
void note_misuse(const char *function, const char *reason);

/* --- lock.c ------------------------------------------------------------------------------------------------------------- */

struct guard {
    int unused;
};
struct guard sim_lock(void); /* the one lock, which a thread may take again */
void sim_unlock(struct guard *guard);
#define LOCKED struct guard guard_ __attribute__((cleanup(sim_unlock), unused)) = sim_lock()

/* --- control.c: the simulator's own entry points, and what the environment says ----------------------------------------- */

/* What the call that begins is to fail with: FAULT_NONE, FAULT_FAIL, FAULT_OUT_OF_MEMORY or FAULT_LOST. Hangs and delays are over when
 * this returns. Call without the lock. */
enum fault fault_enter(const char *function);
bool fault_is(enum fault fault); /* the present call is to do this wrong */
bool fault_lost(void);           /* the device is lost */
void faults_clear(void);
size_t environment_size(const char *name, size_t otherwise); /* a number with an optional K, M or G */

/* --- speed.c: how long things take -------------------------------------------------------------------------------------- */

enum unit { UNIT_IN, UNIT_OUT, UNIT_EXECUTE };

void unit_work(int device, enum unit unit, size_t bytes); /* takes as long as a test has said; call without the lock */
void speeds_clear(void);

/* --- handles.c: every object that the caller holds is registered -------------------------------------------------------- */

bool handle_register(int kind, void *handle); /* false after sim_report() */
void handle_forget(int kind, const void *handle);
void *handle_new(int kind, size_t size);      /* zeroed and registered; NULL after sim_report() */
void handle_drop(int kind, void *handle);     /* forgets and frees */
bool handle_is(int kind, const void *handle); /* never dereferences */
int64_t handle_count(int kind);
void *handle_any(int kind); /* one live handle, or NULL */

/* --- memory.c: device memory that the host cannot dereference ----------------------------------------------------------- */

int memory_init(size_t bytes_per_device);
void memory_reset(void); /* host memory of kind K_HOST too */
bool memory_is_device(const void *pointer);
size_t memory_capacity(int device);
size_t memory_free_bytes(int device);
int64_t memory_live_bytes(void);
int memory_charge(int device, size_t bytes); /* account for memory that has no address, such as a model's own */
void memory_release(int device, size_t bytes);

int memory_allocate(int device, size_t size, size_t charged, void **pointer); /* `charged` counts as used, `size` can be */
bool memory_drop(void *pointer);                                              /* false: not what memory_allocate gave, or dropped already */

/* The simulator's own view of device memory [pointer, pointer + size) on `device`, or NULL after sim_report(code, ...).
 * `what` names the pointer in the message. Call with the lock held, and use the result only as long. */
unsigned char *memory_view(const void *pointer, size_t size, int device, int code, const char *what);

/* Spoil the bytes behind a tensor that ends at `end`, as far as they are in its buffer. Call with the lock held. */
void memory_overrun(const void *end, int device);

#endif
