/* Data buffers, datasets and tensor descriptors: plain records that the caller owns. A dataset does not own its buffers. */
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sim.h"
#include "tensor.h"

struct aclTensorDesc {
    int dtype, format, ndim;
    int64_t dims[ACL_MAX_DIM_CNT];
};

/* --- data buffers ----------------------------------------------------------------------------------------------------------- */

API aclDataBuffer *aclCreateDataBuffer(void *address, size_t size) {
    ENTER(NEEDS_NOTHING, NULL);
    aclDataBuffer *buffer = handle_new(K_DATABUFFER, sizeof *buffer);
    if (buffer != NULL) *buffer = (aclDataBuffer){address, size};
    return buffer;
}

static aclError check_buffer(const aclDataBuffer *buffer) {
    if (handle_is(K_DATABUFFER, buffer)) return ACL_SUCCESS;
    return fail(ACL_ERROR_INVALID_PARAM, "data buffer %p does not exist", (const void *)buffer);
}

API aclError aclDestroyDataBuffer(const aclDataBuffer *buffer) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    aclError error = check_buffer(buffer);
    if (error == ACL_SUCCESS) handle_drop(K_DATABUFFER, (void *)(uintptr_t)buffer);
    return error;
}

API void *aclGetDataBufferAddr(const aclDataBuffer *buffer) {
    ENTER(NEEDS_NOTHING, NULL);
    LOCKED;
    return check_buffer(buffer) == ACL_SUCCESS ? buffer->address : NULL;
}

API size_t aclGetDataBufferSizeV2(const aclDataBuffer *buffer) {
    ENTER(NEEDS_NOTHING, 0);
    LOCKED;
    return check_buffer(buffer) == ACL_SUCCESS ? buffer->size : 0;
}

API uint32_t aclGetDataBufferSize(const aclDataBuffer *buffer) {
    ENTER(NEEDS_NOTHING, 0);
    LOCKED;
    return check_buffer(buffer) == ACL_SUCCESS ? (uint32_t)buffer->size : 0;
}

API aclError aclUpdateDataBuffer(aclDataBuffer *buffer, void *address, size_t size) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    aclError error = check_buffer(buffer);
    if (error == ACL_SUCCESS) *buffer = (aclDataBuffer){address, size};
    return error;
}

API size_t aclDataTypeSize(int dtype) {
    ENTER(NEEDS_NOTHING, 0);
    return dtype_size(dtype);
}

/* --- tensor descriptors ----------------------------------------------------------------------------------------------------- */

API aclTensorDesc *aclCreateTensorDesc(int dtype, int ndim, const int64_t *dims, int format) {
    ENTER(NEEDS_NOTHING, NULL);
    if (ndim < 0 || ndim > ACL_MAX_DIM_CNT || (ndim > 0 && dims == NULL)) {
        fail(ACL_ERROR_INVALID_PARAM, "numDims %d is not in [0, %d], or dims is NULL", ndim, ACL_MAX_DIM_CNT);
        return NULL;
    }
    aclTensorDesc *desc = handle_new(K_TENSORDESC, sizeof *desc);
    if (desc == NULL) return NULL;
    desc->dtype = dtype, desc->format = format, desc->ndim = ndim;
    if (ndim > 0) memcpy(desc->dims, dims, (size_t)ndim * sizeof *dims);
    return desc;
}

API void aclDestroyTensorDesc(const aclTensorDesc *desc) {
    if (sim_enter(__func__, NEEDS_NOTHING) != ACL_SUCCESS) return;
    handle_drop(K_TENSORDESC, (void *)(uintptr_t)desc);
}

/* A descriptor of the caller's, or the copy that a dataset keeps. */
static const aclTensorDesc *desc_of(const aclTensorDesc *desc) {
    if (desc == NULL) fail(ACL_ERROR_INVALID_PARAM, "desc is NULL");
    return desc;
}

API size_t aclGetTensorDescNumDims(const aclTensorDesc *desc) {
    ENTER(NEEDS_NOTHING, 0);
    return desc_of(desc) == NULL ? 0 : (size_t)desc->ndim;
}

API aclError aclGetTensorDescDimV2(const aclTensorDesc *desc, size_t index, int64_t *size) {
    ENTER_ERROR(NEEDS_NOTHING);
    if (desc_of(desc) == NULL || size == NULL) return ACL_ERROR_INVALID_PARAM;
    if (index >= (size_t)desc->ndim) return fail(ACL_ERROR_INVALID_PARAM, "index %zu is not below %d", index, desc->ndim);
    *size = desc->dims[index];
    return ACL_SUCCESS;
}

/* --- datasets --------------------------------------------------------------------------------------------------------------- */

API aclmdlDataset *aclmdlCreateDataset(void) {
    ENTER(NEEDS_NOTHING, NULL);
    return handle_new(K_DATASET, sizeof(aclmdlDataset));
}

aclError dataset_check(const aclmdlDataset *dataset, const char *what) {
    if (handle_is(K_DATASET, dataset)) return ACL_SUCCESS;
    return fail(ACL_ERROR_INVALID_PARAM, "%s %p does not exist", what, (const void *)dataset);
}

static void destroy(aclmdlDataset *dataset) {
    for (size_t i = 0; i < dataset->count; i++) free(dataset->entries[i].desc);
    free(dataset->entries);
    handle_drop(K_DATASET, dataset);
}

API aclError aclmdlDestroyDataset(const aclmdlDataset *dataset) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    aclError error = dataset_check(dataset, "dataset");
    if (error == ACL_SUCCESS) destroy((aclmdlDataset *)(uintptr_t)dataset);
    return error;
}

API aclError aclmdlAddDatasetBuffer(aclmdlDataset *dataset, aclDataBuffer *buffer) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    aclError error = dataset_check(dataset, "dataset");
    if (error == ACL_SUCCESS) error = check_buffer(buffer);
    if (error != ACL_SUCCESS) return error;
    if (dataset->count == dataset->capacity) {
        size_t capacity = dataset->capacity ? 2 * dataset->capacity : 8;
        struct dataset_entry *grown = realloc(dataset->entries, capacity * sizeof *grown);
        if (grown == NULL) return fail(ACL_ERROR_BAD_ALLOC, "out of host memory");
        dataset->entries = grown;
        dataset->capacity = capacity;
    }
    dataset->entries[dataset->count++] = (struct dataset_entry){.buffer = buffer};
    return ACL_SUCCESS;
}

API size_t aclmdlGetDatasetNumBuffers(const aclmdlDataset *dataset) {
    ENTER(NEEDS_NOTHING, 0);
    LOCKED;
    return dataset_check(dataset, "dataset") == ACL_SUCCESS ? dataset->count : 0;
}

static bool has_entry(const aclmdlDataset *dataset, size_t index) {
    if (dataset_check(dataset, "dataset") != ACL_SUCCESS) return false;
    if (index < dataset->count) return true;
    fail(ACL_ERROR_INVALID_PARAM, "index %zu is not below the number of buffers %zu", index, dataset->count);
    return false;
}

API aclDataBuffer *aclmdlGetDatasetBuffer(const aclmdlDataset *dataset, size_t index) {
    ENTER(NEEDS_NOTHING, NULL);
    LOCKED;
    return has_entry(dataset, index) ? dataset->entries[index].buffer : NULL;
}

API aclError aclmdlSetDatasetTensorDesc(aclmdlDataset *dataset, aclTensorDesc *desc, size_t index) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    if (!has_entry(dataset, index)) return ACL_ERROR_INVALID_PARAM;
    aclTensorDesc *copy = NULL;
    if (desc != NULL) {
        copy = malloc(sizeof *copy);
        if (copy == NULL) return fail(ACL_ERROR_BAD_ALLOC, "out of host memory");
        *copy = *desc;
    }
    free(dataset->entries[index].desc);
    dataset->entries[index].desc = copy;
    return ACL_SUCCESS;
}

API aclTensorDesc *aclmdlGetDatasetTensorDesc(const aclmdlDataset *dataset, size_t index) {
    ENTER(NEEDS_NOTHING, NULL);
    LOCKED;
    return has_entry(dataset, index) ? dataset->entries[index].desc : NULL;
}

void dataset_tell(const aclmdlDataset *dataset, int index, int ndim, const int64_t *dims) {
    aclTensorDesc *desc = dataset->entries[index].desc;
    if (desc == NULL) return;
    desc->ndim = ndim;
    memcpy(desc->dims, dims, (size_t)ndim * sizeof *dims);
}

void dataset_reset_all(void) {
    for (void *dataset; (dataset = handle_any(K_DATASET)) != NULL;) destroy(dataset);
    for (void *buffer; (buffer = handle_any(K_DATABUFFER)) != NULL;) handle_drop(K_DATABUFFER, buffer);
    for (void *desc; (desc = handle_any(K_TENSORDESC)) != NULL;) handle_drop(K_TENSORDESC, desc);
}
