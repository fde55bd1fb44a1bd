/* Matrix products: summed in float32 and rounded once. */
#include <inttypes.h>
#include <string.h>

#include "ops.h"

struct matrix {
    const float *data;
    int64_t rows, columns, row_stride, column_stride;
};

static struct matrix matrix_of(const float *data, int64_t rows, int64_t columns, bool transposed) {
    if (transposed) return (struct matrix){data, columns, rows, 1, columns};
    return (struct matrix){data, rows, columns, columns, 1};
}

/* y[a.rows, b.columns] += a * b */
static void multiply(struct matrix a, struct matrix b, float *y) {
    for (int64_t r = 0; r < a.rows; r++)
        for (int64_t k = 0; k < a.columns; k++) {
            float factor = a.data[r * a.row_stride + k * a.column_stride];
            const float *from = b.data + k * b.row_stride;
            float *to = y + r * b.columns;
            for (int64_t c = 0; c < b.columns; c++) to[c] += factor * from[c * b.column_stride];
        }
}

/* Whether operands are float matrices in a plain format; else op_error(). */
static bool check(const struct call *call, int min_rank) {
    for (int i = 0; i < call->n_in; i++) {
        const struct tensor *t = call->in[i];
        if (t == NULL) continue;
        bool plain = t->format != ACL_FORMAT_NC1HWC0 && t->format != ACL_FORMAT_FRACTAL_Z && t->format != ACL_FORMAT_FRACTAL_NZ;
        if (dtype_is_float(t->dtype) && plain && (i > 1 || t->ndim >= min_rank)) continue;
        char shape[128];
        shape_text(shape, sizeof shape, t->ndim, t->dims);
        op_error(call, "input %d, %s %s in %s, is not simulated", i, dtype_name(t->dtype), shape, format_name(t->format));
        return false;
    }
    return true;
}

static struct tensor *mismatch(const struct call *call) {
    char a[128], b[128];
    shape_text(a, sizeof a, call->in[0]->ndim, call->in[0]->dims);
    shape_text(b, sizeof b, call->in[1]->ndim, call->in[1]->dims);
    return op_error(call, "shapes %s and %s do not multiply", a, b);
}

/* Add a bias along the columns, round, and hand back; takes y over. */
static struct tensor *finish(const struct call *call, struct tensor *y, int64_t columns) {
    const struct tensor *bias = call->n_in > 2 ? call->in[2] : NULL;
    if (bias != NULL && bias->count != columns) {
        tensor_free(y);
        return op_error(call, "the bias has %" PRId64 " numbers for %" PRId64 " columns", bias->count, columns);
    }
    for (int64_t i = 0; bias != NULL && i < y->count; i++) y->f[i] += bias->f[i % columns];
    tensor_round(y);
    return y;
}

struct tensor *op_matmul(const struct call *call) {
    if (!check(call, 2)) return NULL;
    const struct tensor *a = call->in[0], *b = call->in[1];
    if (a->ndim != 2 || b->ndim != 2) return mismatch(call);
    struct matrix left = matrix_of(a->f, a->dims[0], a->dims[1], op_bool(call, "transpose_x1", false));
    struct matrix right = matrix_of(b->f, b->dims[0], b->dims[1], op_bool(call, "transpose_x2", false));
    if (left.columns != right.rows) return mismatch(call);
    struct tensor *y = tensor_new(op_dtype(call, a->dtype), ACL_FORMAT_ND, 2, (int64_t[]){left.rows, right.columns});
    if (y == NULL) return NULL;
    multiply(left, right, y->f);
    return finish(call, y, right.columns);
}

struct tensor *op_batch_matmul(const struct call *call) {
    if (!check(call, 2)) return NULL;
    const struct tensor *a = call->in[0], *b = call->in[1];
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    int64_t dims[RANK], batches = 1, a_size = a->dims[a->ndim - 2] * a->dims[a->ndim - 1],
                        b_size = b->dims[b->ndim - 2] * b->dims[b->ndim - 1];
    struct matrix left = matrix_of(a->f, a->dims[a->ndim - 2], a->dims[a->ndim - 1], op_bool(call, "adj_x1", false));
    struct matrix right = matrix_of(b->f, b->dims[b->ndim - 2], b->dims[b->ndim - 1], op_bool(call, "adj_x2", false));
    if (left.columns != right.rows) return mismatch(call);
    for (int i = 0; i < ndim - 2; i++) {
        int j = i - ndim + a->ndim, k = i - ndim + b->ndim;
        int64_t of_a = j >= 0 ? a->dims[j] : 1, of_b = k >= 0 ? b->dims[k] : 1;
        if (of_a != of_b && of_a != 1 && of_b != 1) return mismatch(call);
        dims[i] = of_a == 1 ? of_b : of_a;
        batches *= dims[i];
    }
    dims[ndim - 2] = left.rows, dims[ndim - 1] = right.columns;
    struct tensor *y = tensor_new(op_dtype(call, a->dtype), ACL_FORMAT_ND, ndim, dims);
    if (y == NULL) return NULL;
    for (int64_t batch = 0; batch < batches; batch++) {
        int64_t rest = batch, at_a = 0, at_b = 0, step_a = 1, step_b = 1;
        for (int i = ndim - 3; i >= 0; i--) {
            int j = i - ndim + a->ndim, k = i - ndim + b->ndim;
            int64_t of_a = j >= 0 ? a->dims[j] : 1, of_b = k >= 0 ? b->dims[k] : 1;
            if (of_a > 1) at_a += rest % dims[i] * step_a;
            if (of_b > 1) at_b += rest % dims[i] * step_b;
            step_a *= of_a, step_b *= of_b, rest /= dims[i];
        }
        left.data = a->f + at_a * a_size;
        right.data = b->f + at_b * b_size;
        multiply(left, right, y->f + batch * left.rows * right.columns);
    }
    return finish(call, y, right.columns);
}

/* Everything from attribute `axis` on is one row; the weights are [outputs, row], or [row, outputs] when `transpose`. */
struct tensor *op_fully_connection(const struct call *call) {
    if (!check(call, 2)) return NULL;
    const struct tensor *x = call->in[0], *w = call->in[1];
    int64_t axis = op_int(call, "axis", 1), outputs = op_int(call, "num_output", 0), dims[RANK];
    if (axis < 1 || axis >= x->ndim || outputs <= 0 || w->count % outputs != 0) return mismatch(call);
    int64_t rows = count_of((int)axis, x->dims), row = count_of(x->ndim - (int)axis, x->dims + axis);
    if (row != w->count / outputs) return mismatch(call);
    int ndim = call->op->n_out_desc > 0 && call->op->out_desc[0].ndim > axis ? call->op->out_desc[0].ndim : (int)axis + 1;
    for (int i = 0; i < ndim; i++) dims[i] = i < axis ? x->dims[i] : i == axis ? outputs : 1;
    struct tensor *y = tensor_new(op_dtype(call, x->dtype), ndim == 4 ? ACL_FORMAT_NCHW : ACL_FORMAT_ND, ndim, dims);
    if (y == NULL) return NULL;
    bool plain = op_bool(call, "transpose", false);
    multiply(matrix_of(x->f, rows, row, false), plain ? matrix_of(w->f, row, outputs, false) : matrix_of(w->f, outputs, row, true), y->f);
    return finish(call, y, outputs);
}
