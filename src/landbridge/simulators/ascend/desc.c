/* aclmdlDesc: what a model takes and gives. It is a copy of the interface and outlives the model. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "model.h"

struct aclmdlDesc {
    struct om om; /* its own; empty until aclmdlGetDesc */
    uint32_t id;  /* 0 when it was read from a file */
};

API aclmdlDesc *aclmdlCreateDesc(void) {
    ENTER(NEEDS_NOTHING, NULL);
    return handle_new(K_DESC, sizeof(aclmdlDesc));
}

static aclError check(const aclmdlDesc *desc) {
    if (handle_is(K_DESC, desc)) return ACL_SUCCESS;
    return fail(ACL_ERROR_INVALID_PARAM, "modelDesc %p does not exist", (const void *)desc);
}

/* A description, and a place for what is asked of it. */
static aclError check_with(const aclmdlDesc *desc, const void *result) {
    if (result == NULL) return fail(ACL_ERROR_INVALID_PARAM, "the pointer for the result is NULL");
    return check(desc);
}

/* Take over an interface that was just read. */
static aclError adopt(aclmdlDesc *desc, struct om om, uint32_t id) {
    om_close(&desc->om);
    desc->om = om;
    desc->id = id;
    return ACL_SUCCESS;
}

static aclError fill_from_file(aclmdlDesc *desc, const void *bytes, size_t size) {
    struct om om;
    aclError error = check(desc);
    if (error == ACL_SUCCESS) error = om_open(&om, bytes, size, false);
    return error == ACL_SUCCESS ? adopt(desc, om, 0) : error;
}

API aclError aclmdlDestroyDesc(aclmdlDesc *desc) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    aclError error = check(desc);
    if (error != ACL_SUCCESS) return error;
    om_close(&desc->om);
    handle_drop(K_DESC, desc);
    return ACL_SUCCESS;
}

API aclError aclmdlGetDesc(aclmdlDesc *desc, uint32_t id) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    aclError error = check(desc);
    if (error != ACL_SUCCESS) return error;
    const struct model *model = model_find(id);
    if (model == NULL) return ACL_ERROR_GE_EXEC_MODEL_ID_INVALID;
    struct om om;
    error = om_build(&om, model->om.model_def, (struct view){NULL, model->om.weights.n});
    return error == ACL_SUCCESS ? adopt(desc, om, id) : error;
}

API aclError aclmdlGetDescFromMem(aclmdlDesc *desc, const void *bytes, size_t size) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    return fill_from_file(desc, bytes, size);
}

API aclError aclmdlGetDescFromFile(aclmdlDesc *desc, const char *path) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    unsigned char *bytes = NULL;
    size_t size = 0;
    aclError error = read_file(path, &bytes, &size);
    if (error != ACL_SUCCESS) return error;
    error = fill_from_file(desc, bytes, size);
    free(bytes);
    return error;
}

/* --- sizes, names, types ---------------------------------------------------------------------------------------------------- */

/* One input or output, or NULL after fail(). */
static const struct io *io_at(const aclmdlDesc *desc, bool output, size_t index) {
    if (check(desc) != ACL_SUCCESS) return NULL;
    size_t count = (size_t)(output ? desc->om.n_outputs : desc->om.n_inputs);
    if (index < count) return output ? &desc->om.outputs[index] : &desc->om.inputs[index];
    fail(ACL_ERROR_INVALID_PARAM, "%s index %zu is not below %zu", output ? "output" : "input", index, count);
    return NULL;
}

/* An API function that reads one member of an input or output. */
#define GETTER(type, function, output, otherwise, expression) \
    API type function(const aclmdlDesc *desc, size_t index) { \
        ENTER(NEEDS_NOTHING, otherwise);                      \
        LOCKED;                                               \
        const struct io *io = io_at(desc, output, index);     \
        return io == NULL ? otherwise : (expression);         \
    }

static size_t size_of(const struct io *io) { return fault_is(FAULT_SIZE) ? 2 * io->size : io->size; }

static int dtype_of(const struct io *io) {
    if (!fault_is(FAULT_DTYPE)) return (int)io->dtype;
    return (int)io->dtype == ACL_FLOAT ? ACL_FLOAT16 : ACL_FLOAT;
}

GETTER(size_t, aclmdlGetInputSizeByIndex, false, 0, size_of(io))
GETTER(size_t, aclmdlGetOutputSizeByIndex, true, 0, size_of(io))
GETTER(const char *, aclmdlGetInputNameByIndex, false, "", io->name)
GETTER(const char *, aclmdlGetOutputNameByIndex, true, "", io->name)
GETTER(int, aclmdlGetInputFormat, false, ACL_FORMAT_UNDEFINED, io->format)
GETTER(int, aclmdlGetOutputFormat, true, ACL_FORMAT_UNDEFINED, io->format)
GETTER(int, aclmdlGetInputDataType, false, ACL_DT_UNDEFINED, dtype_of(io))
GETTER(int, aclmdlGetOutputDataType, true, ACL_DT_UNDEFINED, dtype_of(io))

API size_t aclmdlGetNumInputs(const aclmdlDesc *desc) {
    ENTER(NEEDS_NOTHING, 0);
    LOCKED;
    return check(desc) == ACL_SUCCESS ? (size_t)desc->om.n_inputs : 0;
}

API size_t aclmdlGetNumOutputs(const aclmdlDesc *desc) {
    ENTER(NEEDS_NOTHING, 0);
    LOCKED;
    return check(desc) == ACL_SUCCESS ? (size_t)desc->om.n_outputs : 0;
}

/* A name in a fixed array; one that is too long gets a stand-in, which aclmdlGetTensorRealName turns back. */
static void short_name(const aclmdlDesc *desc, bool output, size_t index, const struct io *io, char *text) {
    if (strlen(io->name) < ACL_MAX_TENSOR_NAME_LEN)
        strcpy(text, io->name);
    else
        snprintf(text, ACL_MAX_TENSOR_NAME_LEN, "acl_modelId_%u_%s_%zu_0", desc->id, output ? "output" : "input", index);
}

API const char *aclmdlGetTensorRealName(const aclmdlDesc *desc, const char *name) {
    ENTER(NEEDS_NOTHING, NULL);
    LOCKED;
    if (check(desc) != ACL_SUCCESS) return NULL;
    for (int output = 0; name != NULL && output < 2; output++)
        for (size_t i = 0; i < (size_t)(output ? desc->om.n_outputs : desc->om.n_inputs); i++) {
            const struct io *io = io_at(desc, output, i);
            char alias[ACL_MAX_TENSOR_NAME_LEN];
            short_name(desc, output, i, io, alias);
            if (strcmp(io->name, name) == 0 || strcmp(alias, name) == 0) return io->name;
        }
    fail(ACL_ERROR_INVALID_PARAM, "there is no tensor '%s'", name == NULL ? "(NULL)" : name);
    return NULL;
}

static aclError index_by_name(const aclmdlDesc *desc, bool output, const char *name, size_t *index) {
    aclError error = check(desc);
    if (error != ACL_SUCCESS) return error;
    if (name == NULL || index == NULL) return fail(ACL_ERROR_INVALID_PARAM, "name or index is NULL");
    for (*index = 0; *index < (size_t)(output ? desc->om.n_outputs : desc->om.n_inputs); ++*index)
        if (strcmp(io_at(desc, output, *index)->name, name) == 0) return ACL_SUCCESS;
    *index = 0xFFFFFFFF; /* ACL_INVALID_NODE_INDEX */
    return fail(ACL_ERROR_INVALID_PARAM, "there is no %s '%s'", output ? "output" : "input", name);
}

API aclError aclmdlGetInputIndexByName(const aclmdlDesc *desc, const char *name, size_t *index) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    return index_by_name(desc, false, name, index);
}

API aclError aclmdlGetOutputIndexByName(const aclmdlDesc *desc, const char *name, size_t *index) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    return index_by_name(desc, true, name, index);
}

/* --- shapes ----------------------------------------------------------------------------------------------------------------- */

enum which { INPUT_V1, INPUT_V2, OUTPUT_LARGEST, OUTPUT_CURRENT };

static aclError get_dims(const aclmdlDesc *desc, enum which which, size_t index, aclmdlIODims *dims) {
    LOCKED;
    bool output = which == OUTPUT_LARGEST || which == OUTPUT_CURRENT;
    const struct io *io = io_at(desc, output, index);
    if (io == NULL || dims == NULL) return io == NULL ? ACL_ERROR_INVALID_PARAM : fail(ACL_ERROR_INVALID_PARAM, "dims is NULL");
    int64_t shape[RANK];
    int ndim = which == INPUT_V2 ? io->ndim_v2 : io->ndim;
    memcpy(shape, which == INPUT_V2 ? io->dims_v2 : io->dims, sizeof shape);
    if (which == OUTPUT_CURRENT) {
        const struct model *model = model_find(desc->id);
        if (model == NULL) return ACL_ERROR_GE_EXEC_MODEL_ID_INVALID;
        interface_output_dims(&desc->om, (int)index, model->gear, shape, &ndim);
    }
    memset(dims, 0, sizeof *dims);
    short_name(desc, output, index, io, dims->name);
    dims->dimCount = (size_t)ndim;
    memcpy(dims->dims, shape, (size_t)ndim * sizeof *shape);
    return ACL_SUCCESS;
}

API aclError aclmdlGetInputDims(const aclmdlDesc *desc, size_t index, aclmdlIODims *dims) {
    ENTER_ERROR(NEEDS_NOTHING);
    return get_dims(desc, INPUT_V1, index, dims);
}

API aclError aclmdlGetInputDimsV2(const aclmdlDesc *desc, size_t index, aclmdlIODims *dims) {
    ENTER_ERROR(NEEDS_NOTHING);
    return get_dims(desc, INPUT_V2, index, dims);
}

API aclError aclmdlGetOutputDims(const aclmdlDesc *desc, size_t index, aclmdlIODims *dims) {
    ENTER_ERROR(NEEDS_NOTHING);
    return get_dims(desc, OUTPUT_LARGEST, index, dims);
}

API aclError aclmdlGetCurOutputDims(const aclmdlDesc *desc, size_t index, aclmdlIODims *dims) {
    ENTER_ERROR(NEEDS_NOTHING);
    return get_dims(desc, OUTPUT_CURRENT, index, dims);
}

/* --- gears ------------------------------------------------------------------------------------------------------------------ */

API aclError aclmdlGetDynamicBatch(const aclmdlDesc *desc, aclmdlBatch *batch) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    if (check_with(desc, batch) != ACL_SUCCESS) return ACL_ERROR_INVALID_PARAM;
    const struct gears *gears = &desc->om.gears;
    batch->batchCount = gears->kind == GEAR_BATCH ? (size_t)gears->count : 0;
    for (size_t i = 0; i < batch->batchCount; i++) batch->batch[i] = (uint64_t)gears->values[i][0];
    return ACL_SUCCESS;
}

API aclError aclmdlGetDynamicHW(const aclmdlDesc *desc, size_t index, aclmdlHW *hw) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    if (check_with(desc, hw) != ACL_SUCCESS) return ACL_ERROR_INVALID_PARAM;
    if (index != (size_t)-1) return fail(ACL_ERROR_INVALID_PARAM, "index %zu must be -1", index);
    const struct gears *gears = &desc->om.gears;
    hw->hwCount = gears->kind == GEAR_HW ? (size_t)gears->count : 0;
    for (size_t i = 0; i < hw->hwCount; i++) hw->hw[i][0] = (uint64_t)gears->values[i][0], hw->hw[i][1] = (uint64_t)gears->values[i][1];
    return ACL_SUCCESS;
}

API aclError aclmdlGetInputDynamicGearCount(const aclmdlDesc *desc, size_t index, size_t *count) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    if (check_with(desc, count) != ACL_SUCCESS) return ACL_ERROR_INVALID_PARAM;
    if (index != (size_t)-1) return fail(ACL_ERROR_INVALID_PARAM, "index %zu must be -1", index);
    *count = desc->om.gears.kind == GEAR_DIMS ? (size_t)desc->om.gears.count : 0;
    return ACL_SUCCESS;
}

API aclError aclmdlGetInputDynamicDims(const aclmdlDesc *desc, size_t index, aclmdlIODims *dims, size_t count) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    if (check_with(desc, dims) != ACL_SUCCESS) return ACL_ERROR_INVALID_PARAM;
    const struct om *om = &desc->om;
    if (index != (size_t)-1 || om->gears.kind != GEAR_DIMS || count < (size_t)om->gears.count)
        return fail(ACL_ERROR_INVALID_PARAM, "index must be -1 and gearCount at least %d",
                    om->gears.kind == GEAR_DIMS ? om->gears.count : 0);
    for (int gear = 0; gear < om->gears.count; gear++) {
        memset(&dims[gear], 0, sizeof dims[gear]);
        for (int i = 0; i < om->n_inputs; i++) {
            if (i == om->hidden || dims[gear].dimCount + RANK > ACL_MAX_DIM_CNT) continue;
            dims[gear].dimCount += (size_t)interface_input_dims(om, i, gear, dims[gear].dims + dims[gear].dimCount);
        }
    }
    return ACL_SUCCESS;
}

void desc_reset_all(void) {
    for (aclmdlDesc *desc; (desc = handle_any(K_DESC)) != NULL;) {
        om_close(&desc->om);
        handle_drop(K_DESC, desc);
    }
}
