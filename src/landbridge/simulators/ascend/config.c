/* aclmdlLoadWithConfig and its handle. Values are read when they are set; pointers are given by their address. */
#include <string.h>

#include "load.h"
#include "sim.h"

struct aclmdlConfigHandle {
    size_t load_type;
    const char *path;
    const void *model;
    size_t model_size;
    struct given_memory work, weight;
};

API aclmdlConfigHandle *aclmdlCreateConfigHandle(void) {
    ENTER(NEEDS_NOTHING, NULL);
    return handle_new(K_CONFIG, sizeof(aclmdlConfigHandle));
}

static aclError check(const aclmdlConfigHandle *handle) {
    if (handle_is(K_CONFIG, handle)) return ACL_SUCCESS;
    return fail(ACL_ERROR_INVALID_PARAM, "config handle %p does not exist", (const void *)handle);
}

API aclError aclmdlDestroyConfigHandle(aclmdlConfigHandle *handle) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    aclError error = check(handle);
    if (error == ACL_SUCCESS) handle_drop(K_CONFIG, handle);
    return error;
}

API aclError aclmdlSetConfigOpt(aclmdlConfigHandle *handle, int attribute, const void *value, size_t size) {
    ENTER_ERROR(NEEDS_NOTHING);
    LOCKED;
    aclError error = check(handle);
    if (error != ACL_SUCCESS) return error;
    void *field = NULL;
    switch (attribute) {
        case ACL_MDL_LOAD_TYPE_SIZET: field = &handle->load_type; break;
        case ACL_MDL_PATH_PTR: field = &handle->path; break;
        case ACL_MDL_MEM_ADDR_PTR: field = &handle->model; break;
        case ACL_MDL_MEM_SIZET: field = &handle->model_size; break;
        case ACL_MDL_WEIGHT_ADDR_PTR: field = &handle->weight.address; break;
        case ACL_MDL_WEIGHT_SIZET: field = &handle->weight.size; break;
        case ACL_MDL_WORKSPACE_ADDR_PTR: field = &handle->work.address; break;
        case ACL_MDL_WORKSPACE_SIZET: field = &handle->work.size; break;
        case ACL_MDL_PRIORITY_INT32:
        case ACL_MDL_WORKSPACE_MEM_OPTIMIZE: break; /* nothing to do for them here */
        default: return fail(ACL_ERROR_INVALID_PARAM, "simulator: config attribute %d is not simulated", attribute);
    }
    size_t expected = field != NULL ? sizeof(size_t) : attribute == ACL_MDL_PRIORITY_INT32 ? sizeof(int32_t) : size;
    if (value == NULL || size != expected)
        return fail(ACL_ERROR_INVALID_PARAM, "config attribute %d: the value has %zu bytes, expected %zu", attribute, size, expected);
    if (field != NULL) memcpy(field, value, sizeof(size_t));
    return ACL_SUCCESS;
}

API aclError aclmdlLoadWithConfig(const aclmdlConfigHandle *handle, uint32_t *id) {
    ENTER_ERROR(NEEDS_CONTEXT);
    LOCKED;
    aclError error = check(handle);
    if (error != ACL_SUCCESS) return error;
    static const struct given_memory NONE = {NULL, 0};
    switch (handle->load_type) {
        case ACL_MDL_LOAD_FROM_FILE: return model_load_file(handle->path, &NONE, &NONE, id);
        case ACL_MDL_LOAD_FROM_FILE_WITH_MEM: return model_load_file(handle->path, &handle->work, &handle->weight, id);
        case ACL_MDL_LOAD_FROM_MEM: return model_load(handle->model, handle->model_size, &NONE, &NONE, id);
        case ACL_MDL_LOAD_FROM_MEM_WITH_MEM: return model_load(handle->model, handle->model_size, &handle->work, &handle->weight, id);
        default:
            return fail(ACL_ERROR_INVALID_PARAM, "the load type %zu is not one of 1 to 4; set ACL_MDL_LOAD_TYPE_SIZET", handle->load_type);
    }
}

void config_reset_all(void) {
    for (void *handle; (handle = handle_any(K_CONFIG)) != NULL;) handle_drop(K_CONFIG, handle);
}
