#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "../ascend/om.h"
#include "../ascend/sim.h"

struct engine {
    struct om om;
};

static _Thread_local char message[1024];

/* --- what the Ascend simulator's files expect of the library that they are in --------------------------------------------- */

aclError fail(aclError code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return code;
}

const char *sim_soc(void) { return "Ascend310"; } /* what the graphs are made for */

/* -------------------------------------------------------------------------------------------------------------------------- */

const char *engine_message(void) { return message; }

struct engine *engine_open(const void *bytes, size_t size, bool any_extent) {
    struct engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        fail(ACL_ERROR_BAD_ALLOC, "out of host memory");
        return NULL;
    }
    if (om_open(&engine->om, bytes, size, true) != ACL_SUCCESS) {
        free(engine);
        return NULL;
    }
    if (graph_prepare(&engine->om) != ACL_SUCCESS) {
        engine_close(engine);
        return NULL;
    }
    if (any_extent) engine->om.gears.kind = GEAR_DIMS; /* then shapes are what comes out, not what the file says */
    return engine;
}

void engine_close(struct engine *engine) {
    if (engine == NULL) return;
    om_close(&engine->om);
    free(engine);
}

int engine_inputs(const struct engine *engine) { return engine->om.n_inputs - (engine->om.hidden >= 0 ? 1 : 0); }

int engine_outputs(const struct engine *engine) { return engine->om.n_outputs; }

static bool read_inputs(const struct om *om, const struct engine_tensor *inputs, struct tensor **tensors) {
    for (int i = 0, next = 0; i < om->n_inputs; i++) {
        if (i == om->hidden) continue;
        const struct engine_tensor *given = &inputs[next++];
        tensors[i] = tensor_new(om->inputs[i].dtype, om->inputs[i].format, given->ndim, given->dims);
        if (tensors[i] == NULL) return false;
        if (given->bytes != NULL) tensor_decode(tensors[i], given->bytes);
    }
    return true;
}

static bool write_outputs(const struct om *om, struct tensor *const *tensors, struct engine_tensor *outputs) {
    for (int i = 0; i < om->n_outputs; i++) {
        const struct tensor *made = tensors[i];
        outputs[i].ndim = made->ndim;
        for (int d = 0; d < made->ndim; d++) outputs[i].dims[d] = made->dims[d];
        if (outputs[i].bytes == NULL) continue;
        size_t nbytes = (size_t)made->count * dtype_size(made->dtype);
        if (nbytes > outputs[i].room) {
            fail(ACL_ERROR_RT_MODEL_EXECUTE, "output %d has %zu bytes, the call has room for %zu", i, nbytes, outputs[i].room);
            return false;
        }
        tensor_encode(made, outputs[i].bytes);
    }
    return true;
}

bool engine_run(const struct engine *engine, const struct engine_tensor *inputs, struct engine_tensor *outputs) {
    const struct om *om = &engine->om;
    struct tensor **tensors = calloc((size_t)(om->n_inputs + om->n_outputs) + 1, sizeof *tensors);
    if (tensors == NULL) {
        fail(ACL_ERROR_BAD_ALLOC, "out of host memory");
        return false;
    }
    struct tensor **results = tensors + om->n_inputs;
    bool good = read_inputs(om, inputs, tensors) && graph_run(om, -1, tensors, results) == ACL_SUCCESS;
    good = good && write_outputs(om, results, outputs);
    for (int i = 0; i < om->n_inputs + om->n_outputs; i++) tensor_free(tensors[i]);
    free(tensors);
    return good;
}
