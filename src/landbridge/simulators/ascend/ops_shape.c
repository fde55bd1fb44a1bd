/* Operators that only move or relabel elements, and Cast. */
#include <inttypes.h>
#include <string.h>

#include "ops.h"

struct tensor *op_identity(const struct call *call) { return tensor_cast(call->in[0], call->in[0]->dtype); }

struct tensor *op_cast(const struct call *call) {
    int64_t dtype = op_int(call, "dst_type", op_dtype(call, ACL_DT_UNDEFINED));
    if (!dtype_is_simulated((int)dtype))
        return op_error(call, "the dtype %s (%" PRId64 ") is not simulated", dtype_name((int)dtype), dtype);
    return tensor_cast(call->in[0], (int)dtype);
}

static bool batch_first(int format) { return format == ACL_FORMAT_NCHW || format == ACL_FORMAT_NHWC || format == ACL_FORMAT_NC1HWC0; }

struct tensor *op_trans_data(const struct call *call) {
    const struct tensor *x = call->in[0];
    if (call->op->n_out_desc == 0) return op_error(call, "it has no output descriptor");
    const struct desc *desc = &call->op->out_desc[0];
    int64_t dims[RANK];
    memcpy(dims, desc->dims, sizeof dims);
    if (batch_first(desc->format) && batch_first(x->format)) dims[0] = x->dims[0]; /* maybe a smaller gear than the descriptor's */
    return tensor_transform(x, desc->format, desc->ndim, dims);
}

static int result_format(const struct call *call) { return call->op->n_out_desc > 0 ? call->op->out_desc[0].format : call->in[0]->format; }

/* The descriptor's shape; its first extent is what is left for it when the batch is not the descriptor's. */
static struct tensor *reshape_to(const struct call *call, int ndim, const int64_t *wanted) {
    const struct tensor *x = call->in[0];
    int64_t dims[RANK];
    memcpy(dims, wanted, (size_t)ndim * sizeof *dims);
    if (count_of(ndim, dims) != x->count && ndim > 0) {
        int64_t rest = count_of(ndim - 1, dims + 1);
        dims[0] = rest > 0 ? x->count / rest : 0;
    }
    if (count_of(ndim, dims) == x->count) return tensor_reshape(x, result_format(call), ndim, dims);
    char from[128], to[128];
    shape_text(from, sizeof from, x->ndim, x->dims);
    shape_text(to, sizeof to, ndim, wanted);
    return op_error(call, "%s does not reshape to %s", from, to);
}

struct tensor *op_reshape(const struct call *call) {
    if (call->op->n_out_desc == 0) return op_error(call, "it has no output descriptor");
    return reshape_to(call, call->op->out_desc[0].ndim, call->op->out_desc[0].dims);
}

struct tensor *op_flatten(const struct call *call) {
    const struct tensor *x = call->in[0];
    bool v2 = strcmp(call->op->type, "FlattenV2") == 0;
    int64_t axis = op_int(call, "axis", 1), end = v2 ? op_int(call, "end_axis", -1) : -1;
    if (axis < 0) axis += x->ndim;
    if (end < 0) end += x->ndim;
    if (axis < 0 || end >= x->ndim || (v2 && axis > end))
        return op_error(call, "axes %" PRId64 " to %" PRId64 " are not axes of the input", axis, end);
    int64_t dims[RANK];
    int ndim = 0;
    if (v2) {
        for (int64_t i = 0; i < axis; i++) dims[ndim++] = x->dims[i];
    } else {
        dims[ndim++] = count_of((int)axis, x->dims);
    }
    dims[ndim++] = count_of((int)(end - axis + 1), x->dims + axis);
    for (int64_t i = end + 1; i < x->ndim; i++) dims[ndim++] = x->dims[i];
    return tensor_reshape(x, ACL_FORMAT_ND, ndim, dims);
}

/* Copy element `from` of a tensor to element `to` of another of the same dtype. */
static void copy_element(struct tensor *result, int64_t to, const struct tensor *x, int64_t from, bool is_float) {
    if (is_float)
        result->f[to] = x->f[from];
    else
        result->i[to] = x->i[from];
}

struct tensor *op_transpose(const struct call *call) {
    const struct tensor *x = call->in[0];
    int64_t perm[RANK], dims[RANK], strides[RANK], stride = 1;
    if (strcmp(call->op->type, "TransposeD") == 0) {
        if (!op_ints(call, "perm", perm, x->ndim)) return NULL;
    } else {
        const struct tensor *given = call->in[1];
        if (given->count != x->ndim || dtype_is_float(given->dtype))
            return op_error(call, "the permutation has %" PRId64 " entries", given->count);
        memcpy(perm, given->i, (size_t)x->ndim * sizeof *perm);
    }
    unsigned seen = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (perm[i] < 0 || perm[i] >= x->ndim || seen >> perm[i] & 1)
            return op_error(call, "the permutation is not one of %d axes", x->ndim);
        seen |= 1u << perm[i];
        dims[i] = x->dims[perm[i]];
    }
    for (int i = x->ndim - 1; i >= 0; i--) strides[i] = stride, stride *= x->dims[i];
    struct tensor *result = tensor_new(x->dtype, result_format(call), x->ndim, dims);
    if (result == NULL) return NULL;
    bool is_float = dtype_is_float(x->dtype);
    for (int64_t to = 0; to < result->count; to++) {
        int64_t rest = to, from = 0;
        for (int i = x->ndim - 1; i >= 0; i--) {
            from += rest % dims[i] * strides[perm[i]];
            rest /= dims[i];
        }
        copy_element(result, to, x, from, is_float);
    }
    return result;
}

struct tensor *op_concat(const struct call *call) {
    const struct tensor *first = call->in[0];
    int64_t axis = op_int(call, "concat_dim", 0), dims[RANK] = {0};
    if (axis < 0) axis += first->ndim;
    if (axis < 0 || axis >= first->ndim) return op_error(call, "concat_dim is not an axis of the inputs");
    memcpy(dims, first->dims, sizeof dims);
    for (int k = 1; k < call->n_in; k++) {
        const struct tensor *x = call->in[k];
        bool equal = x != NULL && x->ndim == first->ndim && x->dtype == first->dtype;
        for (int i = 0; equal && i < first->ndim; i++) equal = i == axis || x->dims[i] == first->dims[i];
        if (!equal) return op_error(call, "input %d does not match input 0", k);
        dims[axis] += x->dims[axis];
    }
    struct tensor *result = tensor_new(first->dtype, first->format, first->ndim, dims);
    if (result == NULL) return NULL;
    int64_t outer = count_of((int)axis, dims), inner = count_of(first->ndim - (int)axis - 1, dims + axis + 1), done = 0;
    bool is_float = dtype_is_float(first->dtype);
    for (int k = 0; k < call->n_in; k++) {
        const struct tensor *x = call->in[k];
        int64_t run = x->dims[axis] * inner;
        for (int64_t o = 0; o < outer; o++)
            for (int64_t i = 0; i < run; i++) copy_element(result, o * dims[axis] * inner + done + i, x, o * run + i, is_float);
        done += run;
    }
    return result;
}

static bool is_zero(const struct tensor *x, int64_t i) { return dtype_is_float(x->dtype) ? x->f[i] == 0.0f : x->i[i] == 0; }

/* The indices of what is not zero, in the order of memory: [count, rank], or [rank, count] where "transpose" says so. */
struct tensor *op_non_zero(const struct call *call) {
    const struct tensor *x = call->in[0];
    bool transposed = op_bool(call, "transpose", false);
    int64_t count = 0, at = 0;
    for (int64_t i = 0; i < x->count; i++) count += !is_zero(x, i);
    struct tensor *result = tensor_new(ACL_INT64, ACL_FORMAT_ND, 2, transposed ? (int64_t[]){x->ndim, count} : (int64_t[]){count, x->ndim});
    if (result == NULL) return NULL;
    for (int64_t i = 0; i < x->count; i++) {
        if (is_zero(x, i)) continue;
        int64_t rest = i;
        for (int d = x->ndim - 1; d >= 0; d--) {
            result->i[transposed ? d * count + at : at * x->ndim + d] = rest % x->dims[d];
            rest /= x->dims[d];
        }
        at++;
    }
    return result;
}
