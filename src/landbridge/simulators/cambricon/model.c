/* Models and functions: loading a simulated offline model, and what may be asked of it.
 *
 * The file (written by make_cambricon.py), little endian:
 *   32 bytes magic; u32 version; u32 core; u64 length of the whole; u32 number of functions; then each function:
 *   text name; u32 whether extents may change; u32 inputs; u32 outputs;
 *   each port: text name; u32 dtype; u32 rank; {i32 extent; i32 extent or -1 where any will do} for each dimension;
 *   u64 length of its graph; the graph, as an OM file.
 * A text is a u32 length and its bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "sim.h"

#define MAGIC "landbridge simulated cambricon\n\0"
#define MAGIC_LENGTH 32
#define HEAD_LENGTH (MAGIC_LENGTH + 16)
#define VERSION 1
#define PORTS_MAX 64
#define SUBNETS_MAX 64

struct reader {
    const unsigned char *p;
    size_t left;
    bool good;
};

/* --- reading -------------------------------------------------------------------------------------------------------------- */

static const unsigned char *take(struct reader *in, size_t size) {
    if (!in->good || size > in->left) {
        in->good = false;
        return NULL;
    }
    const unsigned char *found = in->p;
    in->p += size;
    in->left -= size;
    return found;
}

static uint64_t take_number(struct reader *in, size_t size) {
    const unsigned char *bytes = take(in, size);
    uint64_t value = 0;
    for (size_t i = 0; bytes != NULL && i < size; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void take_text(struct reader *in, char *text) {
    size_t length = (size_t)take_number(in, 4);
    const unsigned char *bytes = length <= NAME_MAX_LENGTH ? take(in, length) : NULL;
    if (bytes == NULL)
        in->good = false;
    else
        memcpy(text, bytes, length);
}

static const struct {
    int dtype;
    int64_t size;
} DTYPES[] = {
    {CNRT_FLOAT16, 2}, {CNRT_FLOAT32, 4}, {CNRT_INT8, 1},   {CNRT_INT16, 2},  {CNRT_INT32, 4}, {CNRT_INT64, 8},
    {CNRT_UINT8, 1},   {CNRT_UINT16, 2},  {CNRT_UINT32, 4}, {CNRT_QUANT8, 1}, {CNRT_BOOL, 1},
};

int64_t dtype_nbytes(int dtype) {
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (DTYPES[i].dtype == dtype) return DTYPES[i].size;
    return 0;
}

static void take_port(struct reader *in, struct port *port) {
    take_text(in, port->name);
    port->dtype = (int)take_number(in, 4);
    port->ndim = (int)take_number(in, 4);
    port->nbytes = dtype_nbytes(port->dtype);
    if (port->ndim < 0 || port->ndim > RANK_MAX || port->nbytes == 0) in->good = false;
    for (int i = 0; in->good && i < port->ndim; i++) {
        port->dims[i] = (int)take_number(in, 4);
        port->supported[i] = (int)take_number(in, 4);
        if (port->dims[i] < 0 || __builtin_mul_overflow(port->nbytes, port->dims[i], &port->nbytes)) in->good = false;
    }
}

static cnrtRet_t take_subnet(struct reader *in, struct subnet *subnet) {
    take_text(in, subnet->name);
    subnet->is_mutable = take_number(in, 4) != 0;
    subnet->n_in = (int)take_number(in, 4);
    subnet->n_out = (int)take_number(in, 4);
    int ports = subnet->n_in + subnet->n_out;
    if (!in->good || subnet->n_in < 0 || subnet->n_out < 0 || subnet->n_in > PORTS_MAX || subnet->n_out > PORTS_MAX)
        return fail_with(CNRT_RET_ERR_INVALID, "the model is damaged");
    subnet->ports = calloc((size_t)ports + 1, sizeof *subnet->ports);
    subnet->sizes = calloc((size_t)ports + 1, sizeof *subnet->sizes);
    subnet->dtypes = calloc((size_t)ports + 1, sizeof *subnet->dtypes);
    if (subnet->ports == NULL || subnet->sizes == NULL || subnet->dtypes == NULL)
        return fail_with(CNRT_RET_ERR_NOMEM, "out of host memory");
    for (int i = 0; i < ports; i++) {
        take_port(in, &subnet->ports[i]);
        subnet->sizes[i] = subnet->ports[i].nbytes;
        subnet->dtypes[i] = subnet->ports[i].dtype;
    }
    size_t length = (size_t)take_number(in, 8);
    const unsigned char *graph = take(in, length);
    if (graph == NULL) return fail_with(CNRT_RET_ERR_INVALID, "the model is damaged");
    subnet->engine = engine_open(graph, length, subnet->is_mutable);
    if (subnet->engine == NULL) return fail_with(CNRT_RET_ERR_UNSUPPORTED, "%s", engine_message());
    if (engine_inputs(subnet->engine) != subnet->n_in || engine_outputs(subnet->engine) != subnet->n_out)
        return fail_with(CNRT_RET_ERR_INVALID, "function '%s' has %d inputs and %d outputs, its graph has %d and %d", subnet->name,
                         subnet->n_in, subnet->n_out, engine_inputs(subnet->engine), engine_outputs(subnet->engine));
    return CNRT_RET_SUCCESS;
}

static void destroy_model(struct model *model) {
    for (int i = 0; i < model->n_subnets; i++) {
        engine_close(model->subnets[i].engine);
        free(model->subnets[i].ports);
        free(model->subnets[i].sizes);
        free(model->subnets[i].dtypes);
    }
    free(model->subnets);
    handle_drop(K_MODEL, model);
}

static cnrtRet_t read_model(struct model *model, const unsigned char *bytes, size_t size) {
    struct reader in = {bytes + MAGIC_LENGTH, size - MAGIC_LENGTH, true};
    uint64_t version = take_number(&in, 4);
    if (version != VERSION)
        return fail_with(CNRT_RET_ERR_UNSUPPORTED, "a simulated model of version %d, expected %d", (int)version, VERSION);
    model->core = (int)take_number(&in, 4);
    take_number(&in, 8);
    uint64_t count = take_number(&in, 4);
    if (!in.good || count == 0 || count > SUBNETS_MAX) return fail_with(CNRT_RET_ERR_INVALID, "the model is damaged");
    model->subnets = calloc((size_t)count, sizeof *model->subnets);
    if (model->subnets == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "out of host memory");
    for (model->n_subnets = 0; model->n_subnets < (int)count;) {
        cnrtRet_t code = take_subnet(&in, &model->subnets[model->n_subnets++]);
        if (code != CNRT_RET_SUCCESS) return code;
    }
    return in.left == 0 ? CNRT_RET_SUCCESS : fail_with(CNRT_RET_ERR_INVALID, "the model is damaged");
}

static uint64_t length_of(const unsigned char *head) {
    struct reader in = {head + MAGIC_LENGTH + 8, 8, true};
    return take_number(&in, 8);
}

static cnrtRet_t load(cnrtModel_t *model, const unsigned char *bytes) {
    if (memcmp(bytes, MAGIC, MAGIC_LENGTH) != 0)
        return fail_with(CNRT_RET_ERR_UNSUPPORTED, "this is no simulated offline model; the format of real ones is not public");
    struct model *made = handle_new(K_MODEL, sizeof *made);
    if (made == NULL) return fail_with(CNRT_RET_ERR_NOMEM, "out of host memory");
    uint64_t length = length_of(bytes);
    cnrtRet_t code = length < HEAD_LENGTH ? fail_with(CNRT_RET_ERR_INVALID, "the model is damaged") : read_model(made, bytes, length);
    if (code != CNRT_RET_SUCCESS)
        destroy_model(made);
    else
        *model = made;
    return code;
}

/* --- models --------------------------------------------------------------------------------------------------------------- */

/* There is no length: as the vendor's does, this reads as much as the model itself says that it has. */
API cnrtRet_t cnrtLoadModelFromMem(cnrtModel_t *model, char *bytes) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(model);
    REQUIRE(bytes);
    return load(model, (const unsigned char *)bytes);
}

static cnrtRet_t read_head(const char *path, unsigned char *head) {
    FILE *file = path == NULL ? NULL : fopen(path, "rb");
    if (file == NULL) return fail_with(CNRT_RET_ERR_IO, "cannot open '%s'", path == NULL ? "NULL" : path);
    size_t got = fread(head, 1, HEAD_LENGTH, file);
    fclose(file);
    if (got == HEAD_LENGTH && memcmp(head, MAGIC, MAGIC_LENGTH) == 0) return CNRT_RET_SUCCESS;
    return fail_with(CNRT_RET_ERR_UNSUPPORTED, "'%s' is no simulated offline model", path);
}

API cnrtRet_t cnrtGetModelSize(const char *path, int *size) {
    ENTER(NEEDS_INIT);
    REQUIRE(size);
    unsigned char head[HEAD_LENGTH];
    cnrtRet_t code = read_head(path, head);
    if (code == CNRT_RET_SUCCESS) *size = (int)length_of(head);
    return code;
}

API cnrtRet_t cnrtUnloadModel(cnrtModel_t model) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    if (!handle_is(K_MODEL, model)) return misuse(CNRT_RET_ERR_INVALID, "model %p does not exist", model);
    if (((struct model *)model)->functions > 0)
        return misuse(CNRT_RET_ERR_BUSY, "functions of model %p live; call cnrtDestroyFunction first", model);
    destroy_model(model);
    return CNRT_RET_SUCCESS;
}

#define MODEL(handle)                                                                                                   \
    do {                                                                                                                \
        if (!handle_is(K_MODEL, (handle))) return misuse(CNRT_RET_ERR_INVALID, "model %p does not exist", (handle)); \
    } while (0)

API cnrtRet_t cnrtQueryCoreVersion(cnrtModel_t model, int *version) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(version);
    MODEL(model);
    *version = ((struct model *)model)->core;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtQueryModelParallelism(cnrtModel_t model, int *parallelism) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(parallelism);
    MODEL(model);
    *parallelism = 1;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetFunctionNumber(cnrtModel_t model, int *number) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(number);
    MODEL(model);
    *number = ((struct model *)model)->n_subnets;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtGetFunctionSymbol(cnrtModel_t model, int index, char **symbol, int *length) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(symbol);
    REQUIRE(length);
    MODEL(model);
    struct model *found = model;
    if (index < 0 || index >= found->n_subnets) return fail_with(CNRT_RET_ERR_INVALID, "function %d of %d", index, found->n_subnets);
    *symbol = found->subnets[index].name;
    *length = (int)strlen(found->subnets[index].name);
    return CNRT_RET_SUCCESS;
}

/* --- functions ------------------------------------------------------------------------------------------------------------ */

API cnrtRet_t cnrtCreateFunction(cnrtFunction_t *function) {
    ENTER(NEEDS_DEVICE);
    REQUIRE(function);
    *function = handle_new(K_FUNCTION, sizeof(struct function));
    return *function == NULL ? fail_with(CNRT_RET_ERR_NOMEM, "out of host memory") : CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtExtractFunction(cnrtFunction_t *function, cnrtModel_t model, const char *symbol) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    REQUIRE(function);
    REQUIRE(symbol);
    MODEL(model);
    if (!handle_is(K_FUNCTION, *function)) return misuse(CNRT_RET_ERR_INVALID, "function %p does not exist", *function);
    struct function *made = *function;
    struct model *source = model;
    if (made->subnet != NULL) return misuse(CNRT_RET_ERR_INVALID, "function %p was extracted before", *function);
    for (int i = 0; i < source->n_subnets; i++)
        if (strcmp(source->subnets[i].name, symbol) == 0) made->subnet = &source->subnets[i];
    if (made->subnet == NULL) return fail_with(CNRT_RET_ERR_NO_EXIST, "the model has no function '%s'", symbol);
    made->model = source;
    source->functions++;
    return CNRT_RET_SUCCESS;
}

API cnrtRet_t cnrtDestroyFunction(cnrtFunction_t function) {
    ENTER(NEEDS_DEVICE);
    LOCKED;
    if (!handle_is(K_FUNCTION, function)) return misuse(CNRT_RET_ERR_INVALID, "function %p does not exist", function);
    struct function *found = function;
    if (found->contexts > 0)
        return misuse(CNRT_RET_ERR_BUSY, "contexts of function %p live; call cnrtDestroyRuntimeContext first", function);
    if (found->model != NULL) found->model->functions--;
    handle_drop(K_FUNCTION, function);
    return CNRT_RET_SUCCESS;
}

struct subnet *function_subnet(cnrtFunction_t function) {
    if (!handle_is(K_FUNCTION, function)) {
        misuse(CNRT_RET_ERR_INVALID, "function %p does not exist", function);
        return NULL;
    }
    struct subnet *subnet = ((struct function *)function)->subnet;
    if (subnet == NULL) misuse(CNRT_RET_ERR_INVALID, "function %p was not extracted from a model", function);
    return subnet;
}

void model_drop_all(void) {
    for (void *function; (function = handle_any(K_FUNCTION)) != NULL;) handle_drop(K_FUNCTION, function);
    for (void *model; (model = handle_any(K_MODEL)) != NULL;) destroy_model(model);
}
