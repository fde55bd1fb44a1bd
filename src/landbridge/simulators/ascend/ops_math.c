/* Element-wise operators, bias and softmax: computed in float32 (or int64) and rounded to the dtype. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ops.h"

static bool is(const struct call *call, const char *type) { return strcmp(call->op->type, type) == 0; }

/* --- two operands --------------------------------------------------------------------------------------------------------- */

enum binary { ADD, SUB, MUL, DIV, MAX, MIN };

static enum binary binary_of(const struct call *call) {
    return is(call, "Add")       ? ADD
           : is(call, "Sub")     ? SUB
           : is(call, "Mul")     ? MUL
           : is(call, "RealDiv") ? DIV
           : is(call, "Maximum") ? MAX
                                 : MIN;
}

static float float_binary(enum binary what, float a, float b) {
    switch (what) {
        case ADD: return a + b;
        case SUB: return a - b;
        case MUL: return a * b;
        case DIV: return a / b;
        case MAX: return isnan(a) || a > b ? a : b;
        default: return isnan(a) || a < b ? a : b;
    }
}

static int64_t int_binary(enum binary what, int64_t a, int64_t b) {
    switch (what) {
        case ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
        case SUB: return (int64_t)((uint64_t)a - (uint64_t)b);
        case MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
        case MAX: return a > b ? a : b;
        default: return a < b ? a : b;
    }
}

/* The strides with which an operand is read under a result of `ndim` axes; 0 along the axes that it is repeated on. */
static bool broadcast_strides(const struct tensor *t, int ndim, const int64_t *dims, int64_t *strides) {
    int64_t stride = 1;
    for (int i = ndim - 1, k = t->ndim - 1; i >= 0; i--, k--) {
        int64_t extent = k >= 0 ? t->dims[k] : 1;
        if (extent != 1 && extent != dims[i]) return false;
        strides[i] = extent == 1 ? 0 : stride;
        stride *= extent;
    }
    return true;
}

struct tensor *op_binary(const struct call *call) {
    const struct tensor *a = call->in[0], *b = call->in[1];
    enum binary what = binary_of(call);
    int64_t dims[RANK], a_strides[RANK], b_strides[RANK];
    int ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = ndim - 1, j = a->ndim - 1, k = b->ndim - 1; i >= 0; i--, j--, k--) {
        int64_t of_a = j >= 0 ? a->dims[j] : 1, of_b = k >= 0 ? b->dims[k] : 1;
        dims[i] = of_a == 1 ? of_b : of_a;
    }
    if (!broadcast_strides(a, ndim, dims, a_strides) || !broadcast_strides(b, ndim, dims, b_strides)) {
        char of_a[128], of_b[128];
        shape_text(of_a, sizeof of_a, a->ndim, a->dims);
        shape_text(of_b, sizeof of_b, b->ndim, b->dims);
        return op_error(call, "shapes %s and %s do not broadcast", of_a, of_b);
    }
    if (a->dtype != b->dtype || (what == DIV && !dtype_is_float(a->dtype)))
        return op_error(call, "dtypes %s and %s are not simulated", dtype_name(a->dtype), dtype_name(b->dtype));
    struct tensor *y = tensor_new(a->dtype, a->ndim >= b->ndim ? a->format : b->format, ndim, dims);
    if (y == NULL) return NULL;
    bool is_float = dtype_is_float(a->dtype);
    for (int64_t at = 0; at < y->count; at++) {
        int64_t rest = at, i = 0, j = 0;
        for (int d = ndim - 1; d >= 0; d--) {
            i += rest % dims[d] * a_strides[d];
            j += rest % dims[d] * b_strides[d];
            rest /= dims[d];
        }
        if (is_float)
            y->f[at] = float_binary(what, a->f[i], b->f[j]);
        else
            y->i[at] = int_binary(what, a->i[i], b->i[j]);
    }
    tensor_round(y);
    return y;
}

/* The bias goes along the channels: axis 1, or the last of NHWC. */
struct tensor *op_bias_add(const struct call *call) {
    const struct tensor *x = call->in[0], *bias = call->in[1];
    struct view format;
    bool last =
        x->format == ACL_FORMAT_NHWC || (attr_string(call->op->raw, OP_ATTRS, "data_format", &format) && view_equals(format, "NHWC"));
    int axis = last ? x->ndim - 1 : 1;
    if (x->ndim < 2 || x->format == ACL_FORMAT_NC1HWC0 || bias->count != x->dims[axis] || x->dtype != bias->dtype ||
        !dtype_is_float(x->dtype))
        return op_error(call, "a bias of %" PRId64 " numbers does not fit the input", bias->count);
    struct tensor *y = tensor_cast(x, x->dtype);
    int64_t inner = count_of(x->ndim - axis - 1, x->dims + axis + 1);
    for (int64_t i = 0; y != NULL && i < y->count; i++) y->f[i] += bias->f[i / inner % bias->count];
    if (y != NULL) tensor_round(y);
    return y;
}

/* --- one operand ---------------------------------------------------------------------------------------------------------- */

static float relu(float x, float slope) { return x > 0.0f ? x : isnan(x) ? x : slope == 0.0f ? 0.0f : x * slope; }
static float relu6(float x, float slope) { return relu(x, slope) > 6.0f ? 6.0f : relu(x, slope); }
static float sigmoid(float x, float unused) { return (void)unused, 1.0f / (1.0f + expf(-x)); }
static float tanh_of(float x, float unused) { return (void)unused, tanhf(x); }
static float exp_of(float x, float unused) { return (void)unused, expf(x); }
static float sqrt_of(float x, float unused) { return (void)unused, sqrtf(x); }
static float negate(float x, float unused) { return (void)unused, -x; }
static float absolute(float x, float unused) { return (void)unused, fabsf(x); }

static const struct {
    const char *type;
    float (*of)(float x, float slope);
    bool on_integers;
} UNARY[] = {{"Relu", relu, true},        {"Relu6", relu6, true},   {"LeakyRelu", relu, false},
             {"Sigmoid", sigmoid, false}, {"Tanh", tanh_of, false}, {"Exp", exp_of, false},
             {"Sqrt", sqrt_of, false},    {"Neg", negate, true},    {"Abs", absolute, true}};

static int64_t int_unary(const struct call *call, int64_t x) {
    if (is(call, "Neg")) return (int64_t)-(uint64_t)x;
    if (is(call, "Abs")) return x < 0 ? (int64_t)-(uint64_t)x : x;
    if (is(call, "Relu6") && x > 6) return 6;
    return x > 0 ? x : 0;
}

struct tensor *op_unary(const struct call *call) {
    size_t row = 0;
    while (!is(call, UNARY[row].type)) row++; /* the table of kernels sends nothing else here */
    struct tensor *y = tensor_cast(call->in[0], call->in[0]->dtype);
    if (y == NULL) return NULL;
    if (!dtype_is_float(y->dtype) && !UNARY[row].on_integers) {
        op_error(call, "the input is %s; only floating types are simulated", dtype_name(y->dtype));
        tensor_free(y);
        return NULL;
    }
    float slope = 0.0f;
    if (is(call, "LeakyRelu")) attr_float(call->op->raw, OP_ATTRS, "negative_slope", &slope);
    for (int64_t i = 0; i < y->count; i++) {
        if (dtype_is_float(y->dtype))
            y->f[i] = UNARY[row].of(y->f[i], slope);
        else
            y->i[i] = int_unary(call, y->i[i]);
    }
    tensor_round(y);
    return y;
}

/* --- softmax -------------------------------------------------------------------------------------------------------------- */

static void softmax(float *x, int64_t count, int64_t stride) {
    float largest = -INFINITY, sum = 0.0f;
    for (int64_t i = 0; i < count; i++)
        if (x[i * stride] > largest) largest = x[i * stride];
    for (int64_t i = 0; i < count; i++) sum += x[i * stride] = expf(x[i * stride] - largest);
    for (int64_t i = 0; i < count; i++) x[i * stride] /= sum;
}

/* Over one axis or over several that are next to each other. */
struct tensor *op_softmax(const struct call *call) {
    const struct tensor *x = call->in[0];
    int64_t axes[RANK] = {-1};
    int count = attr_ints(call->op->raw, OP_ATTRS, "axes", axes, RANK);
    if (count <= 0) count = 1;
    for (int i = 0; i < count && i < RANK; i++) {
        if (axes[i] < 0) axes[i] += x->ndim;
        if (axes[i] < 0 || axes[i] >= x->ndim || (i > 0 && axes[i] != axes[i - 1] + 1))
            return op_error(call, "its axes are not neighbouring axes of the input");
    }
    if (count > RANK || !dtype_is_float(x->dtype) || x->format == ACL_FORMAT_NC1HWC0)
        return op_error(call, "an input %s in %s is not simulated", dtype_name(x->dtype), format_name(x->format));
    struct tensor *y = tensor_cast(x, x->dtype);
    if (y == NULL) return NULL;
    int first = (int)axes[0];
    int64_t outer = count_of(first, x->dims), extent = count_of(count, x->dims + first),
            inner = count_of(x->ndim - first - count, x->dims + first + count);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) softmax(y->f + o * extent * inner + i, extent, inner);
    tensor_round(y);
    return y;
}
