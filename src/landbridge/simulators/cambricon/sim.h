/* What the simulator's files know of each other: state, errors, models; common.h has handles and device memory.
 *
 * Rules of the house: an API function starts with ENTER, takes LOCKED where it touches shared state, and reports a failure with
 * fail_with(), which stores the text that cnrtGetErrorStr hands out with the code's own. */
#ifndef LANDBRIDGE_CAMBRICON_SIM_H
#define LANDBRIDGE_CAMBRICON_SIM_H

#include "../common/common.h"
#include "cnrt.h"

#define RANK_MAX 8
#define NAME_MAX_LENGTH 255

enum kind { K_QUEUE = K_FIRST, K_MODEL, K_FUNCTION, K_CONTEXT, K_PARAM, K_PARAMS, K_RESOURCE, K_NAMES };

/* --- state.c: initialisation and errors --------------------------------------------------------------------------------- */

enum { NEEDS_NOTHING = 0, NEEDS_INIT = 1, NEEDS_CURRENT = 2, NEEDS_NO_FAKE = 4 }; /* bits */
#define NEEDS_DEVICE (NEEDS_INIT | NEEDS_CURRENT)
#define NEEDS_REAL_DEVICE (NEEDS_DEVICE | NEEDS_NO_FAKE)

/* Start an API call: apply faults, check the call order. Returns an error code. */
cnrtRet_t sim_enter(const char *function, int needs);

/* Store the text of a failure of the current API call on this thread; returns `code`. */
cnrtRet_t fail_with(cnrtRet_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, where the caller broke a rule of the interface. */
cnrtRet_t misuse(cnrtRet_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As memory_view(); that there is none is misuse. */
unsigned char *device_view(const void *pointer, size_t size, int device, cnrtRet_t code, const char *what);

#define ENTER(needs)                                       \
    do {                                                   \
        cnrtRet_t entered_ = sim_enter(__func__, (needs)); \
        if (entered_ != CNRT_RET_SUCCESS) return entered_; \
    } while (0)

/* Refuse a NULL among pointers that the caller must give. */
#define REQUIRE(pointer)                                                                               \
    do {                                                                                               \
        if ((pointer) == NULL) return fail_with(CNRT_RET_ERR_INVALID_POINTER, "%s is NULL", #pointer); \
    } while (0)

bool sim_is_fake(void); /* cnrtInit(1): no device, only questions */
int sim_core(void);     /* of the simulated devices */
unsigned sim_version(void); /* of the library: 41004 is 4.10.4 */

/* --- device.c ----------------------------------------------------------------------------------------------------------- */

int device_current(void); /* of this thread; -1 when none is set */
void device_forget_all(void);
cnrtRet_t queue_check(cnrtQueue_t queue);

/* --- model.c ------------------------------------------------------------------------------------------------------------ */

struct port {
    char name[NAME_MAX_LENGTH + 1];
    int dtype, ndim;
    int dims[RANK_MAX];      /* those it was compiled for */
    int supported[RANK_MAX]; /* -1 where any extent will do */
    int64_t nbytes;
};

struct engine;

struct subnet { /* a function of a model */
    char name[NAME_MAX_LENGTH + 1];
    bool is_mutable;
    int n_in, n_out;
    struct port *ports; /* inputs, then outputs */
    int64_t *sizes;     /* of the ports */
    int *dtypes;
    struct engine *engine;
};

struct model {
    int core, n_subnets;
    struct subnet *subnets;
    int functions; /* that were extracted and live */
};

struct function {
    struct model *model;
    struct subnet *subnet; /* NULL until extracted */
    int contexts;          /* that live */
};

/* The subnet of a live, extracted function; NULL after fail_with(). */
struct subnet *function_subnet(cnrtFunction_t function);
int64_t dtype_nbytes(int dtype); /* 0 for one that is not simulated */
void model_drop_all(void);

/* --- param.c ------------------------------------------------------------------------------------------------------------ */

struct param {
    int dtype, ndim;
    int dims[RANK_MAX];
};

struct param *param_of(cnrtParamDesc_t desc); /* NULL after fail_with() */
void param_drop_all(void);

/* Check descs of a function's inputs against what it takes. */
cnrtRet_t param_check_inputs(const struct subnet *subnet, cnrtParamDesc_t *descs);

/* --- memory.c ----------------------------------------------------------------------------------------------------------- */

struct copy {
    void *dst;
    const void *src;
    size_t size;
    int direction;
    bool writes_nothing; /* an injected fault */
};

/* Copy between device memory of `device` and the host; takes no time. */
cnrtRet_t copy_run(const struct copy *copy, int device);
enum unit copy_unit(const struct copy *copy);

/* --- context.c ---------------------------------------------------------------------------------------------------------- */

void context_drop_all(void);
/* Do the work that waits in a queue (NULL: in all queues of the device); what fails there fails the call that waits for it. */
cnrtRet_t jobs_run(int device, cnrtQueue_t queue);
bool jobs_pending(cnrtQueue_t queue);
/* Put a copy into a queue. */
cnrtRet_t jobs_copy(cnrtQueue_t queue, const struct copy *copy);
bool jobs_copying(const void *host, size_t size); /* a copy from or to this memory of the host waits */

#endif
