/* What may be asked of a function: sizes, types, shapes and names of its inputs and outputs. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static cnrtRet_t sizes(int64_t **out, int *count, cnrtFunction_t function, bool inputs) {
    LOCKED;
    REQUIRE(out);
    REQUIRE(count);
    struct subnet *subnet = function_subnet(function);
    if (subnet == NULL) return CNRT_RET_ERR_INVALID;
    *out = subnet->sizes + (inputs ? 0 : subnet->n_in);
    *count = inputs ? subnet->n_in : subnet->n_out;
    static _Thread_local int64_t wrong[1];
    if (fault_is(FAULT_SIZE) && *count == 1) wrong[0] = 2 * **out, *out = wrong;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetInputDataSize(int64_t **out, int *count, cnrtFunction_t function) {
    ENTER(NEEDS_DEVICE);
    return sizes(out, count, function, true);
}

API cnrtRet_t cnrtGetOutputDataSize(int64_t **out, int *count, cnrtFunction_t function) {
    ENTER(NEEDS_DEVICE);
    return sizes(out, count, function, false);
}

static cnrtRet_t types(int **out, int *count, cnrtFunction_t function, bool inputs) {
    LOCKED;
    REQUIRE(out);
    REQUIRE(count);
    struct subnet *subnet = function_subnet(function);
    if (subnet == NULL) return CNRT_RET_ERR_INVALID;
    *out = subnet->dtypes + (inputs ? 0 : subnet->n_in);
    *count = inputs ? subnet->n_in : subnet->n_out;
    static _Thread_local int wrong[1];
    if (fault_is(FAULT_DTYPE) && *count == 1) wrong[0] = **out == CNRT_FLOAT32 ? CNRT_FLOAT16 : CNRT_FLOAT32, *out = wrong;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetInputDataType(int **out, int *count, cnrtFunction_t function) {
    ENTER(NEEDS_DEVICE);
    return types(out, count, function, true);
}

API cnrtRet_t cnrtGetOutputDataType(int **out, int *count, cnrtFunction_t function) {
    ENTER(NEEDS_DEVICE);
    return types(out, count, function, false);
}

static cnrtRet_t shape(int **out, int *ndim, int index, cnrtFunction_t function, bool inputs) {
    LOCKED;
    REQUIRE(out);
    REQUIRE(ndim);
    struct subnet *subnet = function_subnet(function);
    if (subnet == NULL) return CNRT_RET_ERR_INVALID;
    int count = inputs ? subnet->n_in : subnet->n_out;
    if (index < 0 || index >= count) return fail_with(CNRT_RET_ERR_INVALID, "index %d of %d", index, count);
    const struct port *port = &subnet->ports[index + (inputs ? 0 : subnet->n_in)];
    *out = handle_new(K_RESOURCE, sizeof port->dims);
    if (*out == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "out of host memory");
    memcpy(*out, port->dims, sizeof port->dims);
    *ndim = port->ndim;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetInputDataShape(int **out, int *ndim, int index, cnrtFunction_t function) {
    ENTER(NEEDS_DEVICE);
    return shape(out, ndim, index, function, true);
}

API cnrtRet_t cnrtGetOutputDataShape(int **out, int *ndim, int index, cnrtFunction_t function) {
    ENTER(NEEDS_DEVICE);
    return shape(out, ndim, index, function, false);
}

API cnrtRet_t cnrtReleaseInternalResource(void *pointer) {
    ENTER(NEEDS_DEVICE);
    if (!handle_is(K_RESOURCE, pointer)) return misuse(CNRT_RET_ERR_INVALID_POINTER, "%p is none of the library's", pointer);
    handle_drop(K_RESOURCE, pointer);
    return CNRT_RET_SUCCESS;
}

/* --- names ---------------------------------------------------------------------------------------------------------------- */

static char **copy_names(const struct port *ports, int count) {
    char **names = handle_new(K_NAMES, ((size_t)count + 1) * sizeof *names);
    for (int i = 0; names != NULL && i < count; i++) names[i] = strdup(ports[i].name);
    return names;
}

static void drop_names(char **names, int count) {
    for (int i = 0; i < count; i++) free(names[i]);
    handle_drop(K_NAMES, names);
}

API cnrtRet_t cnrtGetInputAndOutputNamesFromFunction(cnrtFunction_t function, char ***in, char ***out, int *n_in, int *n_out) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(in);
    REQUIRE(out);
    REQUIRE(n_in);
    REQUIRE(n_out);
    struct subnet *subnet = function_subnet(function);
    if (subnet == NULL) return CNRT_RET_ERR_INVALID;
    *in = copy_names(subnet->ports, subnet->n_in);
    *out = copy_names(subnet->ports + subnet->n_in, subnet->n_out);
    *n_in = subnet->n_in;
    *n_out = subnet->n_out;
    return *in == NULL || *out == NULL ? fail_with(CNRT_RET_ERR_NOMEM, "out of host memory") : CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtDestroyInputAndOutputNames(char **in, char **out, int n_in, int n_out) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    if (!handle_is(K_NAMES, in) || !handle_is(K_NAMES, out)) return misuse(CNRT_RET_ERR_INVALID_POINTER, "names that do not exist");
    drop_names(in, n_in);
    drop_names(out, n_out);
    return CNRT_RET_SUCCESS;
}

static struct port *port_named(cnrtFunction_t function, const char *name) {
    struct subnet *subnet = function_subnet(function);
    for (int i = 0; subnet != NULL && name != NULL && i < subnet->n_in + subnet->n_out; i++)
        if (strcmp(subnet->ports[i].name, name) == 0) return &subnet->ports[i];
    if (subnet != NULL) fail_with(CNRT_RET_ERR_NO_EXIST, "the function has no parameter '%s'", name == NULL ? "NULL" : name);
    return NULL;
}

API cnrtRet_t cnrtGetSupportedParamDimNumberByName(cnrtFunction_t function, const char *name, int *number) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(number);
    const struct port *port = port_named(function, name);
    if (port == NULL) return CNRT_RET_ERR_NO_EXIST;
    *number = port->ndim;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetSupportedParamShapeByName(cnrtFunction_t function, const char *name, int *extents) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(extents);
    const struct port *port = port_named(function, name);
    if (port == NULL) return CNRT_RET_ERR_NO_EXIST;
    memcpy(extents, port->supported, (size_t)port->ndim * sizeof *extents);
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetSupportedParamDataTypeByName(cnrtFunction_t function, const char *name, int *dtype) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(dtype);
    const struct port *port = port_named(function, name);
    if (port == NULL) return CNRT_RET_ERR_NO_EXIST;
    *dtype = port->dtype;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetSupportedParamLayoutByName(cnrtFunction_t function, const char *name, int *layout) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(layout);
    if (port_named(function, name) == NULL) return CNRT_RET_ERR_NO_EXIST;
    *layout = CNRT_NHWC;
    return CNRT_RET_SUCCESS;
}
