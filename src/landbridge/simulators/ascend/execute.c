/* Choosing a gear and executing a model.
 *
 * As on the device, the gear comes from the hidden input's buffer, and what lies between the gear's rows and the end of the
 * largest gear's is overwritten with something. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define POISON 0xA5

/* --- gears ---------------------------------------------------------------------------------------------------------------- */

/* The model's hidden input and room for a gear in the dataset's buffer for it. */
static aclError hidden_view(const struct model *model, const aclmdlDataset *dataset, size_t index, unsigned char **bytes) {
    const struct om *om = &model->om;
    if (om->gears.kind == GEAR_NONE) return fail(ACL_ERROR_MODEL_NOT_DYNAMIC, "model %u has no gears", model->id);
    aclError error = dataset_check(dataset, "dataset");
    if (error != ACL_SUCCESS) return error;
    if (index != (size_t)om->hidden)
        return fail(ACL_ERROR_INVALID_PARAM, "index %zu is not that of input '%s', which is %d", index, ACL_DYNAMIC_TENSOR_NAME,
                    om->hidden);
    if (index >= dataset->count)
        return fail(ACL_ERROR_INVALID_PARAM, "the dataset has %zu buffers, none at index %zu; add the buffer of input '%s' first",
                    dataset->count, index, ACL_DYNAMIC_TENSOR_NAME);
    const aclDataBuffer *buffer = dataset->entries[index].buffer;
    size_t needed = (size_t)om->gears.width * sizeof(int64_t);
    if (!handle_is(K_DATABUFFER, buffer) || buffer->size < needed)
        return fail(ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID, "the buffer of input '%s' has less than %zu bytes", ACL_DYNAMIC_TENSOR_NAME,
                    needed);
    *bytes =
        memory_view(buffer->address, needed, model->device, ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID, "the buffer of the hidden input");
    return *bytes == NULL ? ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID : ACL_SUCCESS;
}

static aclError set_gear(uint32_t id, const aclmdlDataset *dataset, size_t index, enum gear_kind kind, const int64_t *values) {
    static const char *const CALLS[] = {"", "aclmdlSetDynamicBatchSize", "aclmdlSetDynamicHWSize", "aclmdlSetInputDynamicDims"};
    struct model *model = NULL;
    unsigned char *bytes = NULL;
    aclError error = model_here(id, &model);
    if (error == ACL_SUCCESS) error = hidden_view(model, dataset, index, &bytes);
    if (error != ACL_SUCCESS) return error;
    const struct gears *gears = &model->om.gears;
    if (gears->kind != kind) return fail(ACL_ERROR_INVALID_PARAM, "the gears of model %u are set by %s", id, CALLS[gears->kind]);
    int gear = gears_find(gears, values);
    if (gear < 0) {
        char known[512];
        gears_text(gears, known, sizeof known);
        return fail(ACL_ERROR_GE_DYNAMIC_BATCH_SIZE_INVALID, "%s %" PRId64 " is not a gear of model %u; gears are %s",
                    kind == GEAR_BATCH ? "batch size" : "the size that begins with", values[0], id, known);
    }
    memcpy(bytes, values, (size_t)gears->width * sizeof *values);
    model->gear = gear;
    return ACL_SUCCESS;
}

API aclError aclmdlSetDynamicBatchSize(uint32_t id, aclmdlDataset *dataset, size_t index, uint64_t batch) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    return set_gear(id, dataset, index, GEAR_BATCH, (int64_t[GEAR_WIDTH]){(int64_t)batch});
}

API aclError aclmdlSetDynamicHWSize(uint32_t id, aclmdlDataset *dataset, size_t index, uint64_t height, uint64_t width) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    return set_gear(id, dataset, index, GEAR_HW, (int64_t[GEAR_WIDTH]){(int64_t)height, (int64_t)width});
}

/* `dims` are all inputs' extents in a row; those where a model has -1 are the gear. */
API aclError aclmdlSetInputDynamicDims(uint32_t id, aclmdlDataset *dataset, size_t index, const aclmdlIODims *dims) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    struct model *model = NULL;
    aclError error = model_here(id, &model);
    if (error != ACL_SUCCESS) return error;
    if (dims == NULL || dims->dimCount > ACL_MAX_DIM_CNT) return fail(ACL_ERROR_INVALID_PARAM, "dims is NULL or has too many");
    int64_t values[GEAR_WIDTH] = {0};
    size_t at = 0;
    int width = 0;
    for (int i = 0; i < model->om.n_inputs; i++)
        for (int d = 0; i != model->om.hidden && d < model->om.inputs[i].ndim; d++, at++) {
            int64_t own = model->om.inputs[i].dims[d], given = at < dims->dimCount ? dims->dims[at] : -1;
            if (own >= 0 && own != given)
                return fail(ACL_ERROR_INVALID_PARAM, "dims[%zu] is %" PRId64 ", the model has %" PRId64, at, given, own);
            if (own < 0 && width < GEAR_WIDTH) values[width++] = given;
        }
    if (at != dims->dimCount) return fail(ACL_ERROR_INVALID_PARAM, "dimCount is %zu, the inputs have %zu", dims->dimCount, at);
    return set_gear(id, dataset, index, GEAR_DIMS, values);
}

/* --- executing ------------------------------------------------------------------------------------------------------------ */

/* The gear that the dataset's hidden buffer asks for; -1 for a model without gears. */
static aclError read_gear(const struct model *model, const aclmdlDataset *dataset, int *gear) {
    const struct om *om = &model->om;
    int64_t values[GEAR_WIDTH];
    unsigned char *bytes = NULL;
    *gear = -1;
    if (om->gears.kind == GEAR_NONE) return ACL_SUCCESS;
    aclError error = hidden_view(model, dataset, (size_t)om->hidden, &bytes);
    if (error != ACL_SUCCESS) return error;
    memcpy(values, bytes, (size_t)om->gears.width * sizeof *values);
    *gear = gears_find(&om->gears, values);
    if (*gear >= 0) return ACL_SUCCESS;
    char known[512];
    gears_text(&om->gears, known, sizeof known);
    return fail(ACL_ERROR_GE_DYNAMIC_BATCH_SIZE_INVALID,
                "input '%s' holds no gear of model %u (%s); set one after its buffer is added to the dataset", ACL_DYNAMIC_TENSOR_NAME,
                model->id, known);
}

/* The bytes of one buffer of a dataset, which must have `needed` of them; NULL after fail(). */
static unsigned char *buffer_view(const struct model *model, const aclmdlDataset *dataset, int index, size_t needed, const char *name,
                                  aclError code) {
    const aclDataBuffer *buffer = dataset->entries[index].buffer;
    if (!handle_is(K_DATABUFFER, buffer)) {
        fail(code, "the data buffer of '%s' (index %d) was destroyed", name, index);
        return NULL;
    }
    if (buffer->size < needed) {
        fail(code, "the data buffer of '%s' (index %d) has %zu bytes, the model needs %zu", name, index, buffer->size, needed);
        return NULL;
    }
    return memory_view(buffer->address, buffer->size, model->device, code, name);
}

static aclError read_inputs(const struct model *model, const aclmdlDataset *dataset, int gear, struct tensor **tensors) {
    const struct om *om = &model->om;
    if (dataset->count != (size_t)om->n_inputs)
        return fail(ACL_ERROR_MODEL_INPUT_NOT_MATCH, "the dataset has %zu buffers, model %u has %d inputs", dataset->count, model->id,
                    om->n_inputs);
    for (int i = 0; i < om->n_inputs; i++) {
        const struct io *io = &om->inputs[i];
        if (i == om->hidden) continue;
        int64_t dims[RANK];
        int ndim = interface_input_dims(om, i, gear, dims);
        tensors[i] = tensor_new(io->dtype, io->format, ndim, dims);
        if (tensors[i] == NULL) return ACL_ERROR_RT_MODEL_EXECUTE;
        size_t own = (size_t)tensors[i]->count * dtype_size(io->dtype);
        const unsigned char *bytes = buffer_view(model, dataset, i, gear < 0 ? io->size : own, io->name, ACL_ERROR_MODEL_INPUT_NOT_MATCH);
        if (bytes == NULL) return ACL_ERROR_MODEL_INPUT_NOT_MATCH;
        if (own > io->size && gear < 0)
            return fail(ACL_ERROR_RT_MODEL_EXECUTE, "simulator: input '%s' has %zu bytes, the file says %zu", io->name, own, io->size);
        tensor_decode(tensors[i], bytes);
    }
    return ACL_SUCCESS;
}

/* Store the outputs; with no tensors only check that they will fit. */
static aclError write_outputs(const struct model *model, const aclmdlDataset *dataset, struct tensor *const *tensors) {
    const struct om *om = &model->om;
    aclError error = dataset_check(dataset, "output dataset");
    if (error != ACL_SUCCESS) return error;
    if (dataset->count != (size_t)om->n_outputs)
        return fail(ACL_ERROR_MODEL_OUTPUT_NOT_MATCH, "the dataset has %zu buffers, model %u has %d outputs", dataset->count, model->id,
                    om->n_outputs);
    for (int i = 0; i < om->n_outputs; i++) {
        const struct io *io = &om->outputs[i];
        unsigned char *bytes = buffer_view(model, dataset, i, io->size, io->name, ACL_ERROR_MODEL_OUTPUT_NOT_MATCH);
        if (bytes == NULL) return ACL_ERROR_MODEL_OUTPUT_NOT_MATCH;
        if (tensors == NULL) continue;
        size_t own = (size_t)tensors[i]->count * dtype_size(io->dtype);
        if (own > io->size)
            return fail(ACL_ERROR_RT_MODEL_EXECUTE, "simulator: output '%s' has %zu bytes, the file says %zu", io->name, own, io->size);
        tensor_encode(tensors[i], bytes);
        memset(bytes + own, POISON, io->size - own);
        dataset_tell(dataset, i, tensors[i]->ndim, tensors[i]->dims);
    }
    return ACL_SUCCESS;
}

/* What came out must be what the interface promises for the gear. */
static aclError check_outputs(const struct om *om, int gear, struct tensor *const *tensors) {
    for (int i = 0; i < om->n_outputs; i++) {
        int64_t dims[RANK];
        int ndim;
        interface_output_dims(om, i, gear, dims, &ndim);
        bool equal = tensors[i]->ndim == ndim;
        for (int d = 0; equal && d < ndim; d++) equal = dims[d] < 0 || dims[d] == tensors[i]->dims[d];
        if (equal) continue;
        char found[128], expected[128];
        shape_text(found, sizeof found, tensors[i]->ndim, tensors[i]->dims);
        shape_text(expected, sizeof expected, ndim, dims);
        return fail(ACL_ERROR_RT_MODEL_EXECUTE, "simulator: output '%s' is %s, the file says %s", om->outputs[i].name, found, expected);
    }
    return ACL_SUCCESS;
}

/* Check everything and read the inputs, then mark the model busy. */
static aclError begin(uint32_t id, const aclmdlDataset *inputs, const aclmdlDataset *outputs, struct model **model, int *gear,
                      struct tensor ***tensors) {
    LOCKED;
    aclError error = model_here(id, model);
    if (error == ACL_SUCCESS) error = dataset_check(inputs, "input dataset");
    if (error != ACL_SUCCESS) return error;
    if ((*model)->busy) misused("one model must not run twice at once");
    if ((*model)->busy)
        return fail(ACL_ERROR_RT_MODEL_EXECUTE, "model %u is executing on another thread; one model must not run twice at once", id);
    const struct om *om = &(*model)->om;
    *tensors = calloc((size_t)(om->n_inputs + om->n_outputs) + 1, sizeof **tensors);
    if (*tensors == NULL) return fail(ACL_ERROR_BAD_ALLOC, "out of host memory");
    if (inputs->count == (size_t)om->n_inputs) error = read_gear(*model, inputs, gear);
    if (error == ACL_SUCCESS) error = read_inputs(*model, inputs, *gear, *tensors);
    if (error == ACL_SUCCESS) error = write_outputs(*model, outputs, NULL);
    (*model)->busy = error == ACL_SUCCESS;
    return error;
}

/* Write beyond the end of the first output. */
static void overrun(const struct model *model, const aclmdlDataset *dataset) {
    const aclDataBuffer *buffer = dataset->entries[0].buffer;
    memory_overrun((const unsigned char *)buffer->address + buffer->size, model->device);
}

/* The graph runs outside the lock, on tensors of its own, so that models on several threads run at the same time. */
static aclError execute(uint32_t id, const aclmdlDataset *inputs, const aclmdlDataset *outputs) {
    struct model *model = NULL;
    struct tensor **tensors = NULL;
    int gear = -1, count = 0;
    aclError error = begin(id, inputs, outputs, &model, &gear, &tensors);
    if (tensors != NULL) count = model->om.n_inputs + model->om.n_outputs;
    if (error == ACL_SUCCESS) {
        struct tensor **results = tensors + model->om.n_inputs;
        error = graph_run(&model->om, gear, tensors, results);
        if (error == ACL_SUCCESS) error = check_outputs(&model->om, gear, results);
        unit_work(model->device, UNIT_EXECUTE, 0);
        LOCKED;
        if (error == ACL_SUCCESS && !fault_is(FAULT_NO_WRITE)) error = write_outputs(model, outputs, results);
        if (error == ACL_SUCCESS && fault_is(FAULT_OVERRUN)) overrun(model, outputs);
        model->busy = false;
    }
    for (int i = 0; i < count; i++) tensor_free(tensors[i]);
    free(tensors);
    return error;
}

API aclError aclmdlExecute(uint32_t id, const aclmdlDataset *inputs, aclmdlDataset *outputs) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return execute(id, inputs, outputs);
}

API aclError aclmdlExecuteAsync(uint32_t id, const aclmdlDataset *inputs, aclmdlDataset *outputs, aclrtStream stream) {
    ENTER_ERROR(NEEDS_CONTEXT);
    aclError error = stream_check(stream);
    return error != ACL_SUCCESS ? error : execute(id, inputs, outputs);
}
