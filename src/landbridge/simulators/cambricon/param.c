/* Parameter descriptors, for functions whose extents the caller chooses, and the inference of their results' shapes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "sim.h"

struct param *param_of(cnrtParamDesc_t desc) {
    if (handle_is(K_PARAM, desc)) return desc;
    misuse(CNRT_RET_ERR_INVALID, "parameter descriptor %p does not exist", desc);
    return NULL;
}

API cnrtRet_t cnrtCreateParamDesc(cnrtParamDesc_t *desc) {
    ENTER(NEEDS_INIT);
    REQUIRE(desc);
    *desc = handle_new(K_PARAM, sizeof(struct param));
    return *desc == NULL ? fail_with(CNRT_RET_ERR_NOMEM, "out of host memory") : CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtDestroyParamDesc(cnrtParamDesc_t desc) {
    ENTER(NEEDS_INIT);
    LOCKED;
    if (param_of(desc) == NULL) return CNRT_RET_ERR_INVALID;
    handle_drop(K_PARAM, desc);
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtCreateParamDescArray(cnrtParamDesc_t **descs, int count) {
    ENTER(NEEDS_INIT);
    LOCKED;
    REQUIRE(descs);
    if (count < 1) return fail_with(CNRT_RET_ERR_INVALID, "%d descriptors", count);
    cnrtParamDesc_t *made = handle_new(K_PARAMS, (size_t)count * sizeof *made);
    for (int i = 0; made != NULL && i < count; i++) made[i] = handle_new(K_PARAM, sizeof(struct param));
    *descs = made;
    return made == NULL ? fail_with(CNRT_RET_ERR_NOMEM, "out of host memory") : CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtDestroyParamDescArray(cnrtParamDesc_t *descs, int count) {
    ENTER(NEEDS_INIT);
    LOCKED;
    if (!handle_is(K_PARAMS, descs)) return misuse(CNRT_RET_ERR_INVALID_POINTER, "descriptors that do not exist");
    for (int i = 0; i < count; i++)
        if (handle_is(K_PARAM, descs[i])) handle_drop(K_PARAM, descs[i]);
    handle_drop(K_PARAMS, descs);
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtSetShapeToParamDesc(cnrtParamDesc_t desc, int *dims, int ndim) {
    ENTER(NEEDS_INIT);
    LOCKED;
    REQUIRE(dims);
    struct param *param = param_of(desc);
    if (param == NULL) return CNRT_RET_ERR_INVALID;
    if (ndim < 0 || ndim > RANK_MAX) return fail_with(CNRT_RET_ERR_INVALID, "rank %d", ndim);
    memcpy(param->dims, dims, (size_t)ndim * sizeof *dims);
    param->ndim = ndim;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtSetDataTypeToParamDesc(cnrtParamDesc_t desc, int dtype) {
    ENTER(NEEDS_INIT);
    LOCKED;
    struct param *param = param_of(desc);
    if (param == NULL) return CNRT_RET_ERR_INVALID;
    param->dtype = dtype;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetShapeFromParamDesc(cnrtParamDesc_t desc, int **dims, int *ndim) {
    ENTER(NEEDS_INIT);
    LOCKED;
    REQUIRE(dims);
    REQUIRE(ndim);
    const struct param *param = param_of(desc);
    if (param == NULL) return CNRT_RET_ERR_INVALID;
    *dims = handle_new(K_RESOURCE, sizeof param->dims);
    if (*dims == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "out of host memory");
    memcpy(*dims, param->dims, sizeof param->dims);
    *ndim = param->ndim;
    return CNRT_RET_SUCCESS;
}

void param_drop_all(void) {
    static const enum kind KINDS_HERE[] = {K_PARAM, K_PARAMS, K_RESOURCE, K_NAMES};
    for (size_t i = 0; i < sizeof KINDS_HERE / sizeof *KINDS_HERE; i++)
        for (void *object; (object = handle_any(KINDS_HERE[i])) != NULL;) handle_drop(KINDS_HERE[i], object);
}

/* --- inference ------------------------------------------------------------------------------------------------------------ */

cnrtRet_t param_check_inputs(const struct subnet *subnet, cnrtParamDesc_t *descs) {
    for (int i = 0; i < subnet->n_in; i++) {
        const struct port *port = &subnet->ports[i];
        const struct param *param = param_of(descs[i]);
        if (param == NULL) return CNRT_RET_ERR_INVALID;
        if (param->ndim != port->ndim)
            return misuse(CNRT_RET_ERR_INVALID, "input '%s' has rank %d, the function takes %d", port->name, param->ndim, port->ndim);
        if (param->dtype != port->dtype)
            return misuse(CNRT_RET_ERR_INVALID, "input '%s' has type %#x, the function takes %#x", port->name, param->dtype,
                          port->dtype);
        for (int d = 0; d < port->ndim; d++)
            if (param->dims[d] < 1 || (port->supported[d] >= 0 && param->dims[d] != port->supported[d]))
                return misuse(CNRT_RET_ERR_INVALID, "input '%s' has extent %d at %d, the function takes %d", port->name, param->dims[d],
                              d, port->supported[d]);
    }
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtInferFunctionOutputShape(cnrtFunction_t function, int n_in, cnrtParamDesc_t *in, int n_out, cnrtParamDesc_t *out) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(in);
    REQUIRE(out);
    struct engine_tensor inputs[64] = {0}, outputs[64] = {0};
    struct subnet *subnet = function_subnet(function);
    if (subnet == NULL) return CNRT_RET_ERR_INVALID;
    if (n_in != subnet->n_in || n_out != subnet->n_out)
        return fail_with(CNRT_RET_ERR_INVALID, "%d inputs and %d outputs, the function has %d and %d", n_in, n_out, subnet->n_in,
                         subnet->n_out);
    cnrtRet_t code = param_check_inputs(subnet, in);
    if (code != CNRT_RET_SUCCESS) return code;
    for (int i = 0; i < n_in; i++) {
        const struct param *param = in[i];
        inputs[i].ndim = param->ndim;
        for (int d = 0; d < param->ndim; d++) inputs[i].dims[d] = param->dims[d];
    }
    if (!engine_run(subnet->engine, inputs, outputs)) return fail_with(CNRT_RET_ERR_INVALID, "%s", engine_message());
    for (int i = 0; i < n_out; i++) {
        struct param *param = param_of(out[i]);
        if (param == NULL) return CNRT_RET_ERR_INVALID;
        param->ndim = outputs[i].ndim;
        param->dtype = subnet->ports[n_in + i].dtype;
        for (int d = 0; d < param->ndim; d++) param->dims[d] = (int)outputs[i].dims[d];
    }
    return CNRT_RET_SUCCESS;
}
