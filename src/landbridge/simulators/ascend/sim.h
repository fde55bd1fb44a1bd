/* What the simulator's files know of each other: state, errors, handles, device memory.
 *
 * Rules of the house: an API function starts with ENTER, takes LOCKED where it touches shared state, and reports a failure
 * with fail(), which stores the text that aclGetRecentErrMsg hands out. */
#ifndef LANDBRIDGE_ASCEND_SIM_H
#define LANDBRIDGE_ASCEND_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "acl.h"

#define DEVICES 4

enum kind { K_BUFFER, K_HOST, K_CONTEXT, K_STREAM, K_MODEL, K_DESC, K_DATASET, K_DATABUFFER, K_TENSORDESC, K_CONFIG, KINDS };

struct context {
    uint64_t id;
    int device;
    bool is_default;
};

/* --- state.c: initialisation, errors, faults ------------------------------------------------------------------------------ */

enum { NEEDS_NOTHING = 0, NEEDS_INIT = 1, NEEDS_CONTEXT = 3 };

/* Start an API call: end the life of the last message, apply faults, check the call order. Returns an error code. */
aclError sim_enter(const char *function, int needs);

/* Store the text of a failure of the current API call on this thread; returns `code`. */
aclError fail(aclError code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ENTER(needs, result)                                              \
    do {                                                                  \
        if (sim_enter(__func__, (needs)) != ACL_SUCCESS) return (result); \
    } while (0)
#define ENTER_ERROR(needs)                                \
    do {                                                  \
        aclError entered_ = sim_enter(__func__, (needs)); \
        if (entered_ != ACL_SUCCESS) return entered_;     \
    } while (0)

struct guard {
    int unused;
};
struct guard sim_lock(void);
void sim_unlock(struct guard *guard);
#define LOCKED struct guard guard_ __attribute__((cleanup(sim_unlock), unused)) = sim_lock()

bool sim_initialised(void);
const char *sim_soc(void);

/* --- handles.c: every object that the caller holds is registered ---------------------------------------------------------- */

bool handle_register(enum kind kind, void *handle); /* false after fail() */
void handle_forget(enum kind kind, const void *handle);
void *handle_new(enum kind kind, size_t size);      /* zeroed and registered; NULL after fail() */
void handle_drop(enum kind kind, void *handle);     /* forgets and frees */
bool handle_is(enum kind kind, const void *handle); /* never dereferences */
int64_t handle_count(enum kind kind);
void *handle_any(enum kind kind); /* one live handle, or NULL */

/* --- device.c: contexts and streams --------------------------------------------------------------------------------------- */

struct context *context_current(void); /* of this thread; NULL when none or destroyed */
bool context_is_current(uint64_t id);
aclError stream_check(aclrtStream stream);
void device_reset_all(void);

/* --- memory.c: device memory that the host cannot dereference -------------------------------------------------------------- */

aclError memory_init(size_t bytes_per_device);
void memory_reset(void);
bool memory_is_device(const void *pointer);
size_t memory_free_bytes(int device);
aclError memory_charge(int device, size_t bytes); /* account for memory that has no address, such as a model's own */
void memory_release(int device, size_t bytes);
int64_t memory_live_bytes(void);

/* The simulator's own view of device memory [pointer, pointer + size) on `device`, or NULL after fail(code, ...).
 * `what` names the pointer in the message. Call with the lock held, and use the result only as long. */
unsigned char *memory_view(const void *pointer, size_t size, int device, aclError code, const char *what);

/* --- dataset.c ------------------------------------------------------------------------------------------------------------ */

struct aclDataBuffer {
    void *address;
    size_t size;
};

struct dataset_entry {
    aclDataBuffer *buffer;
    aclTensorDesc *desc; /* the dataset's own copy, or NULL */
};

struct aclmdlDataset {
    struct dataset_entry *entries;
    size_t count, capacity;
};

void dataset_reset_all(void);

/* --- model.c, config.c, desc.c ----------------------------------------------------------------------------------------------- */

void model_reset_all(void);
void config_reset_all(void);
void desc_reset_all(void);

#endif
