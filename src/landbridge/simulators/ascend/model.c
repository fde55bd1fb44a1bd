/* Loading and unloading models. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define MODELS 1024

static struct model *models[MODELS];
static uint32_t next_id = 1;

struct model *model_find(uint32_t id) {
    LOCKED;
    for (int i = 0; i < MODELS; i++)
        if (models[i] != NULL && models[i]->id == id) return models[i];
    fail(ACL_ERROR_GE_EXEC_MODEL_ID_INVALID, "model id %u does not exist", id);
    return NULL;
}

aclError model_here(uint32_t id, struct model **model) {
    LOCKED;
    *model = model_find(id);
    if (*model == NULL) return ACL_ERROR_GE_EXEC_MODEL_ID_INVALID;
    if (context_is_current((*model)->context)) return ACL_SUCCESS;
    return fail(ACL_ERROR_RT_MODEL_CONTEXT, "model %u is not in current ctx; load, execute and unload it in one context", id);
}

static void destroy(struct model *model) {
    for (int i = 0; i < MODELS; i++)
        if (models[i] == model) models[i] = NULL;
    memory_release(model->device, model->charged);
    om_close(&model->om);
    handle_drop(K_MODEL, model);
}

/* Memory that the caller gives must be enough, and on the device. */
static aclError check_memory(const struct given_memory *given, size_t needed, const char *what) {
    if (given->address == NULL || given->size == 0) return ACL_SUCCESS; /* the model takes its own */
    if (given->size < needed)
        return fail(ACL_ERROR_INVALID_PARAM, "%s memory of %zu bytes is less than the %zu needed", what, given->size, needed);
    bool good = memory_view(given->address, needed, context_current()->device, ACL_ERROR_INVALID_PARAM, what) != NULL;
    return good ? ACL_SUCCESS : ACL_ERROR_INVALID_PARAM;
}

static aclError take_memory(struct model *model, const struct given_memory *work, const struct given_memory *weight) {
    aclError error = check_memory(work, model->om.work_size, "workPtr");
    if (error == ACL_SUCCESS) error = check_memory(weight, model->om.weights.n, "weightPtr");
    if (error != ACL_SUCCESS) return error;
    size_t needed = (work->address == NULL ? model->om.work_size : 0) + (weight->address == NULL ? model->om.weights.n : 0);
    error = memory_charge(model->device, needed);
    if (error == ACL_SUCCESS) model->charged = needed;
    return error;
}

aclError model_load(const void *bytes, size_t size, const struct given_memory *work, const struct given_memory *weight, uint32_t *id) {
    LOCKED;
    if (id == NULL) return fail(ACL_ERROR_INVALID_PARAM, "modelId is NULL");
    int slot = 0;
    while (slot < MODELS && models[slot] != NULL) slot++;
    if (slot == MODELS) return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "simulator: %d models are loaded, there is no room for more", MODELS);
    struct model *model = handle_new(K_MODEL, sizeof *model);
    if (model == NULL) return ACL_ERROR_BAD_ALLOC;
    *model = (struct model){.id = next_id, .context = context_current()->id, .device = context_current()->device, .gear = -1};
    aclError error = om_open(&model->om, bytes, size, true);
    if (error == ACL_SUCCESS) error = graph_prepare(&model->om);
    if (error == ACL_SUCCESS) error = take_memory(model, work, weight);
    if (error != ACL_SUCCESS) {
        destroy(model);
        return error;
    }
    models[slot] = model;
    *id = next_id++;
    return ACL_SUCCESS;
}

aclError model_load_file(const char *path, const struct given_memory *work, const struct given_memory *weight, uint32_t *id) {
    unsigned char *bytes = NULL;
    size_t size = 0;
    aclError error = read_file(path, &bytes, &size);
    if (error != ACL_SUCCESS) return error;
    error = model_load(bytes, size, work, weight, id);
    free(bytes);
    return error;
}

aclError read_file(const char *path, unsigned char **bytes, size_t *size) {
    FILE *file = path == NULL ? NULL : fopen(path, "rb");
    long length = -1;
    *bytes = NULL;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) length = ftell(file);
    if (length > 0) *bytes = malloc((size_t)length);
    bool good = *bytes != NULL && fseek(file, 0, SEEK_SET) == 0 && fread(*bytes, 1, (size_t)length, file) == (size_t)length;
    if (file != NULL) fclose(file);
    if (!good) {
        free(*bytes);
        return fail(ACL_ERROR_INVALID_FILE, "modelPath '%s' cannot be read", path == NULL ? "(NULL)" : path);
    }
    *size = (size_t)length;
    return ACL_SUCCESS;
}

static const struct given_memory NONE = {NULL, 0};

API aclError aclmdlLoadFromMem(const void *bytes, size_t size, uint32_t *id) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return model_load(bytes, size, &NONE, &NONE, id);
}

API aclError aclmdlLoadFromMemWithMem(const void *bytes, size_t size, uint32_t *id, void *work, size_t work_size, void *weight,
                                      size_t weight_size) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return model_load(bytes, size, &(struct given_memory){work, work_size}, &(struct given_memory){weight, weight_size}, id);
}

API aclError aclmdlLoadFromFile(const char *path, uint32_t *id) {
    ENTER_ERROR(NEEDS_CONTEXT);
    return model_load_file(path, &NONE, &NONE, id);
}

API aclError aclmdlUnload(uint32_t id) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    struct model *model = NULL;
    aclError error = model_here(id, &model);
    if (error != ACL_SUCCESS) return error;
    if (model->busy) misused("a model must not be unloaded while it runs");
    if (model->busy) return fail(ACL_ERROR_GE_FAILURE, "model %u is executing on another thread", id);
    destroy(model);
    return ACL_SUCCESS;
}

API aclError aclmdlQuerySizeFromMem(const void *bytes, size_t size, size_t *work, size_t *weight) {
    ENTER_ERROR(NEEDS_INIT);
    if (work == NULL || weight == NULL) return fail(ACL_ERROR_INVALID_PARAM, "workSize or weightSize is NULL");
    struct om om;
    aclError error = om_open(&om, bytes, size, false);
    if (error != ACL_SUCCESS) return error;
    *work = om.work_size;
    *weight = om.weights.n;
    om_close(&om);
    return ACL_SUCCESS;
}

void model_reset_all(void) {
    for (int i = 0; i < MODELS; i++)
        if (models[i] != NULL) destroy(models[i]);
}
