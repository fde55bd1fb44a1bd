/* What the simulator's files know of each other: state, errors, contexts, datasets; common.h has handles and device memory.
 *
 * Rules of the house: an API function starts with ENTER, takes LOCKED where it touches shared state, and reports a failure
 * with fail(), which stores the text that aclGetRecentErrMsg hands out. */
#ifndef LANDBRIDGE_ASCEND_SIM_H
#define LANDBRIDGE_ASCEND_SIM_H

#include "../common/common.h"
#include "acl.h"

enum kind { K_CONTEXT = K_FIRST, K_STREAM, K_MODEL, K_DESC, K_DATASET, K_DATABUFFER, K_TENSORDESC, K_CONFIG };

struct context {
    uint64_t id;
    int device;
    bool is_default;
};

/* --- state.c: initialisation and errors --------------------------------------------------------------------------------- */

enum { NEEDS_NOTHING = 0, NEEDS_INIT = 1, NEEDS_CONTEXT = 3 };

/* Start an API call: end the life of the last message, apply faults, check the call order. Returns an error code. */
aclError sim_enter(const char *function, int needs);

/* Store the text of a failure of the current API call on this thread; returns `code`. */
aclError fail(aclError code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Keep that the caller broke a rule of the interface; fail() does by itself, but for codes that have other causes too. */
void misused(const char *reason);

#define ENTER(needs, result)                                              \
    do {                                                                  \
        if (sim_enter(__func__, (needs)) != ACL_SUCCESS) return (result); \
    } while (0)
#define ENTER_ERROR(needs)                                \
    do {                                                  \
        aclError entered_ = sim_enter(__func__, (needs)); \
        if (entered_ != ACL_SUCCESS) return entered_;     \
    } while (0)

bool sim_initialised(void);
const char *sim_soc(void);

/* --- device.c: contexts and streams ------------------------------------------------------------------------------------- */

struct context *context_current(void); /* of this thread; NULL when none or destroyed */
bool context_is_current(uint64_t id);
aclError stream_check(aclrtStream stream);
void device_reset_all(void);

/* --- dataset.c ---------------------------------------------------------------------------------------------------------- */

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

/* --- model.c, config.c, desc.c ------------------------------------------------------------------------------------------ */

void model_reset_all(void);
void config_reset_all(void);
void desc_reset_all(void);

#endif
