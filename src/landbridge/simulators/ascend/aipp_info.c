/* What the interface tells about the preprocessing (AIPP) of an input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aipp.h"
#include "model.h"

/* "FORMAT:DTYPE:name:bytes:ndim:d0,d1,..." of `_aipp_inputs` and `_aipp_outputs`. */
static bool read_shape(struct view text, int *format, int *dtype, aclmdlIODims *dims, size_t *size) {
    char copy[512], *fields[6], *rest = copy;
    if (text.n >= sizeof copy) return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    for (int i = 0; i < 6; i++) {
        fields[i] = rest;
        char *colon = i < 5 ? strchr(rest, ':') : NULL;
        if (colon == NULL && i < 5) return false;
        if (colon != NULL) *colon = '\0', rest = colon + 1;
    }
    *format = format_parse(fields[0], strlen(fields[0]));
    *dtype = strcmp(fields[1], "DT_FLOAT16") == 0 ? ACL_FLOAT16 : strcmp(fields[1], "DT_FLOAT") == 0 ? ACL_FLOAT : ACL_UINT8;
    snprintf(dims->name, sizeof dims->name, "%s", fields[2]);
    *size = (size_t)strtoull(fields[3], NULL, 10);
    dims->dimCount = 0;
    for (char *next = fields[5]; *next != '\0' && dims->dimCount < ACL_MAX_DIM_CNT;) {
        dims->dims[dims->dimCount++] = strtoll(next, &next, 10);
        if (*next == ',')
            next++;
        else if (*next != '\0')
            return false;
    }
    return true;
}

/* The input of a model, or an error code. */
static aclError input_at(uint32_t id, size_t index, struct model **model, const struct op **op) {
    *model = model_find(id);
    if (*model == NULL) return ACL_ERROR_GE_EXEC_MODEL_ID_INVALID;
    if (index >= (size_t)(*model)->om.n_inputs)
        return fail(ACL_ERROR_INVALID_PARAM, "input index %zu is not below %d", index, (*model)->om.n_inputs);
    *op = &(*model)->om.ops[(*model)->om.inputs[index].op];
    return ACL_SUCCESS;
}

API aclError aclmdlGetAippType(uint32_t id, size_t index, int *type, size_t *attached) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    struct model *model = NULL;
    const struct op *op = NULL;
    aclError error = input_at(id, index, &model, &op);
    if (error != ACL_SUCCESS) return error;
    if (type == NULL || attached == NULL) return fail(ACL_ERROR_INVALID_PARAM, "type or dynamicAttachedDataIndex is NULL");
    struct view mode;
    *type = ACL_DATA_WITHOUT_AIPP;
    *attached = 0xFFFFFFFF;
    if (!attr_string(op->raw, OP_ATTRS, "_data_related_aipp_mode", &mode)) return ACL_SUCCESS;
    if (view_equals(mode, "static_aipp")) *type = ACL_DATA_WITH_STATIC_AIPP;
    if (view_equals(mode, "dynamic_aipp")) *type = ACL_DATA_WITH_DYNAMIC_AIPP;
    if (view_equals(mode, "dynamic_aipp_conf")) *type = ACL_DYNAMIC_AIPP_NODE;
    return ACL_SUCCESS;
}

API aclError aclmdlGetFirstAippInfo(uint32_t id, size_t index, aclAippInfo *info) {
    ENTER_ERROR(NEEDS_INIT);
    LOCKED;
    struct model *model = NULL;
    const struct op *op = NULL;
    aclError error = input_at(id, index, &model, &op);
    if (error != ACL_SUCCESS) return error;
    if (info == NULL) return fail(ACL_ERROR_INVALID_PARAM, "aippInfo is NULL");
    struct view aipp, text;
    if (!attr_message(op->raw, OP_ATTRS, "aipp", 10, &aipp))
        return fail(ACL_ERROR_GE_AIPP_NOT_EXIST, "there is not AIPP related with index %zu of input '%s'", index, op->name);
    memset(info, 0, sizeof *info);
    aipp_read_info(aipp, info);
    int format, dtype;
    for (; info->shapeCount < 128; info->shapeCount++) {
        aclAippDims *dims = &info->outDims[info->shapeCount];
        if (!attr_string_at(op->raw, OP_ATTRS, "_aipp_inputs", (int)info->shapeCount, &text) ||
            !read_shape(text, &format, &dtype, &dims->srcDims, &dims->srcSize))
            break;
        info->srcFormat = format, info->srcDatatype = dtype, info->srcDimNum = dims->srcDims.dimCount;
        if (attr_string_at(op->raw, OP_ATTRS, "_aipp_outputs", (int)info->shapeCount, &text))
            read_shape(text, &format, &dtype, &dims->aippOutdims, &dims->aippOutSize);
    }
    return ACL_SUCCESS;
}
