/* Runtime contexts, and the work that they and copies put into queues.
 *
 * Work is done when somebody waits for it: results that are read before are not there yet, and whatever a call refers to must
 * live until then. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "sim.h"

#define JOBS 256
#define PARAMS 128

struct context {
    struct function *function;
    int device; /* -1 until it is set */
    bool ready;
};

struct job {
    struct context *context; /* NULL: a copy */
    struct copy copy;
    cnrtQueue_t queue;
    int device;
    struct engine_tensor inputs[PARAMS / 2], outputs[PARAMS / 2];
    void *params[PARAMS];
    size_t sizes[PARAMS];
    bool overruns; /* an injected fault */
};

struct work { /* what was done takes its time on a unit */
    enum unit unit;
    size_t bytes;
};

static struct job *jobs[JOBS]; /* in their order */
static int job_count;

/* --- contexts ------------------------------------------------------------------------------------------------------------- */

API cnrtRet_t cnrtCreateRuntimeContext(cnrtRuntimeContext_t *context, cnrtFunction_t function, void *extra) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    REQUIRE(context);
    (void)extra;
    if (function_subnet(function) == NULL) return CNRT_RET_ERR_INVALID;
    struct context *made = handle_new(K_CONTEXT, sizeof *made);
    if (made == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "out of host memory");
    *made = (struct context){.function = function, .device = -1};
    made->function->contexts++;
    *context = made;
    return CNRT_RET_SUCCESS;
}

static struct context *context_of(cnrtRuntimeContext_t context) {
    if (handle_is(K_CONTEXT, context)) return context;
    misuse(CNRT_RET_ERR_INVALID, "runtime context %p does not exist", context);
    return NULL;
}

API cnrtRet_t cnrtSetRuntimeContextDeviceId(cnrtRuntimeContext_t context, int ordinal) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    struct context *found = context_of(context);
    if (found == NULL) return CNRT_RET_ERR_INVALID;
    if (ordinal < 0 || ordinal >= DEVICES) return fail_with(CNRT_RET_ERR_NODEV, "device %d, the range is [0, %d)", ordinal, DEVICES);
    if (found->ready) return misuse(CNRT_RET_ERR_INVALID, "the device is set after cnrtInitRuntimeContext");
    found->device = ordinal;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtInitRuntimeContext(cnrtRuntimeContext_t context, void *extra) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    (void)extra;
    struct context *found = context_of(context);
    if (found == NULL) return CNRT_RET_ERR_INVALID;
    if (found->device < 0) return misuse(CNRT_RET_ERR_INVALID, "no device is set; call cnrtSetRuntimeContextDeviceId first");
    if (found->function->model->core != sim_core())
        return fail_with(CNRT_RET_ERR_UNSUPPORTED, "the model is for another core than the device has");
    found->ready = true;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtDestroyRuntimeContext(cnrtRuntimeContext_t context) {
    ENTER(NEEDS_REAL_DEVICE);
    LOCKED;
    struct context *found = context_of(context);
    if (found == NULL) return CNRT_RET_ERR_INVALID;
    for (int i = 0; i < job_count; i++)
        if (jobs[i]->context == found) return misuse(CNRT_RET_ERR_BUSY, "work of context %p waits in a queue", context);
    found->function->contexts--;
    handle_drop(K_CONTEXT, context);
    return CNRT_RET_SUCCESS;
}

void context_drop_all(void) {
    while (job_count > 0) free(jobs[--job_count]);
    for (void *context; (context = handle_any(K_CONTEXT)) != NULL;) handle_drop(K_CONTEXT, context);
}

/* --- invoking ------------------------------------------------------------------------------------------------------------- */

/* Every address must be a device buffer with room for its parameter. */
static cnrtRet_t check_params(const struct subnet *subnet, const struct job *job) {
    for (int i = 0; i < subnet->n_in + subnet->n_out; i++)
        if (device_view(job->params[i], job->sizes[i], job->device, CNRT_RET_ERR_INVALID_POINTER, subnet->ports[i].name) == NULL)
            return CNRT_RET_ERR_INVALID_POINTER;
    return CNRT_RET_SUCCESS;
}

static void set_shape(struct job *job, const struct subnet *subnet, int index, int ndim, const int *dims) {
    struct engine_tensor *tensor = index < subnet->n_in ? &job->inputs[index] : &job->outputs[index - subnet->n_in];
    size_t size = (size_t)dtype_nbytes(subnet->ports[index].dtype);
    tensor->ndim = ndim;
    for (int d = 0; d < ndim; d++) {
        tensor->dims[d] = dims[d];
        size *= (size_t)dims[d];
    }
    job->sizes[index] = size;
}

static cnrtRet_t set_shapes(struct job *job, const struct subnet *subnet, cnrtParamDesc_t *descs) {
    cnrtRet_t code = descs == NULL ? CNRT_RET_SUCCESS : param_check_inputs(subnet, descs);
    for (int i = 0; code == CNRT_RET_SUCCESS && i < subnet->n_in + subnet->n_out; i++) {
        const struct param *param = descs == NULL ? NULL : param_of(descs[i]);
        if (descs != NULL && param == NULL) return CNRT_RET_ERR_INVALID;
        set_shape(job, subnet, i, param ? param->ndim : subnet->ports[i].ndim, param ? param->dims : subnet->ports[i].dims);
    }
    return code;
}

/* A place for work, not yet in the queue; NULL after fail_with(). */
static struct job *job_new(cnrtQueue_t queue, struct context *context) {
    if (job_count == JOBS) {
        fail_with(CNRT_RET_ERR_BUSY, "%d calls wait; call cnrtSyncQueue", JOBS);
        return NULL;
    }
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        fail_with(CNRT_RET_ERR_NOMEM, "out of host memory");
    else
        *job = (struct job){.context = context, .queue = queue, .device = device_current()};
    return job;
}

cnrtRet_t jobs_copy(cnrtQueue_t queue, const struct copy *copy) {
    LOCKED;
    struct job *job = job_new(queue, NULL);
    if (job == NULL) return job_count == JOBS ? CNRT_RET_ERR_BUSY : CNRT_RET_ERR_NOMEM;
    job->copy = *copy;
    jobs[job_count++] = job;
    return CNRT_RET_SUCCESS;
}

bool jobs_copying(const void *host, size_t size) {
    LOCKED;
    for (int i = 0; i < job_count; i++) {
        const struct copy *copy = &jobs[i]->copy;
        const void *ends[] = {copy->dst, copy->src};
        for (int end = 0; jobs[i]->context == NULL && end < 2; end++)
            if ((uintptr_t)ends[end] - (uintptr_t)host < size) return true;
    }
    return false;
}

static cnrtRet_t invoke(cnrtRuntimeContext_t handle, cnrtParamDesc_t *descs, void **params, cnrtQueue_t queue) {
    LOCKED;
    struct context *context = context_of(handle);
    if (context == NULL) return CNRT_RET_ERR_INVALID;
    if (!context->ready) return misuse(CNRT_RET_ERR_INVALID, "runtime context %p is not initialised", handle);
    if (context->device != device_current())
        return misuse(CNRT_RET_ERR_NODEV, "the context is on device %d, this thread's current device is %d", context->device,
                      device_current());
    cnrtRet_t code = queue_check(queue);
    if (code != CNRT_RET_SUCCESS) return code;
    struct subnet *subnet = function_subnet(context->function);
    if (subnet == NULL || params == NULL) return misuse(CNRT_RET_ERR_INVALID_POINTER, "params is NULL");
    for (int i = 0; i < job_count; i++)
        if (jobs[i]->context == context && jobs[i]->queue != queue)
            return misuse(CNRT_RET_ERR_BUSY, "work of context %p waits in another queue; one context must not run twice at once",
                          handle);
    struct job *job = job_new(queue, context);
    if (job == NULL) return job_count == JOBS ? CNRT_RET_ERR_BUSY : CNRT_RET_ERR_NOMEM;
    memcpy(job->params, params, (size_t)(subnet->n_in + subnet->n_out) * sizeof *params);
    code = set_shapes(job, subnet, descs);
    if (code == CNRT_RET_SUCCESS) code = check_params(subnet, job);
    job->overruns = fault_is(FAULT_OVERRUN);
    if (code == CNRT_RET_SUCCESS && !fault_is(FAULT_NO_WRITE))
        jobs[job_count++] = job;
    else
        free(job);
    return code;
}

API cnrtRet_t cnrtInvokeRuntimeContext(cnrtRuntimeContext_t context, void **params, cnrtQueue_t queue, void *extra) {
    ENTER(NEEDS_REAL_DEVICE);
    (void)extra;
    return invoke(context, NULL, params, queue);
}

/* With descriptors a function whose extents are fixed is refused, unless they are its own. */
API cnrtRet_t cnrtInvokeRuntimeContext_V2(cnrtRuntimeContext_t context, cnrtParamDesc_t *descs, void **params, cnrtQueue_t queue,
                                          void *extra) {
    ENTER(NEEDS_REAL_DEVICE);
    (void)extra;
    REQUIRE(descs);
    return invoke(context, descs, params, queue);
}

/* --- working -------------------------------------------------------------------------------------------------------------- */

bool jobs_pending(cnrtQueue_t queue) {
    LOCKED;
    for (int i = 0; i < job_count; i++)
        if (jobs[i]->queue == queue) return true;
    return false;
}

/* The result must be what the call said that it would be. */
static cnrtRet_t check_shapes(const struct subnet *subnet, const struct engine_tensor *made, const struct engine_tensor *said) {
    for (int i = 0; i < subnet->n_out; i++) {
        bool equal = made[i].ndim == said[i].ndim;
        for (int d = 0; equal && d < made[i].ndim; d++) equal = made[i].dims[d] == said[i].dims[d];
        if (!equal)
            return fail_with(CNRT_RET_ERR_INVALID, "output '%s' has another shape than the call says",
                             subnet->ports[subnet->n_in + i].name);
    }
    return CNRT_RET_SUCCESS;
}

static cnrtRet_t run_call(struct job *job) {
    struct subnet *subnet = function_subnet(job->context->function);
    if (subnet == NULL) return CNRT_RET_ERR_INVALID;
    struct engine_tensor outputs[PARAMS / 2];
    memcpy(outputs, job->outputs, sizeof outputs);
    for (int i = 0; i < subnet->n_in + subnet->n_out; i++) {
        unsigned char *bytes = device_view(job->params[i], job->sizes[i], job->device, CNRT_RET_ERR_MLU, subnet->ports[i].name);
        if (bytes == NULL) return CNRT_RET_ERR_MLU;
        struct engine_tensor *tensor = i < subnet->n_in ? &job->inputs[i] : &outputs[i - subnet->n_in];
        tensor->bytes = bytes;
        tensor->room = job->sizes[i];
    }
    if (!engine_run(subnet->engine, job->inputs, outputs)) return fail_with(CNRT_RET_ERR_MLU, "%s", engine_message());
    if (job->overruns) memory_overrun((const unsigned char *)job->params[subnet->n_in] + job->sizes[subnet->n_in], job->device);
    return check_shapes(subnet, outputs, job->outputs);
}

static cnrtRet_t run_jobs(int device, cnrtQueue_t queue, struct work *done, int *count) {
    LOCKED;
    cnrtRet_t first = CNRT_RET_SUCCESS;
    int kept = 0;
    for (int i = 0; i < job_count; i++) {
        if (jobs[i]->device != device || (queue != NULL && jobs[i]->queue != queue)) {
            jobs[kept++] = jobs[i];
            continue;
        }
        const struct copy *copy = jobs[i]->context == NULL ? &jobs[i]->copy : NULL;
        cnrtRet_t code = copy ? copy_run(copy, device) : run_call(jobs[i]);
        if (first == CNRT_RET_SUCCESS) first = code;
        done[(*count)++] = copy ? (struct work){copy_unit(copy), copy->size} : (struct work){UNIT_EXECUTE, 0};
        free(jobs[i]);
    }
    job_count = kept;
    return first;
}

cnrtRet_t jobs_run(int device, cnrtQueue_t queue) {
    struct work done[JOBS];
    int count = 0;
    cnrtRet_t code = run_jobs(device, queue, done, &count);
    for (int i = 0; i < count; i++) unit_work(device, done[i].unit, done[i].bytes);
    return code;
}
