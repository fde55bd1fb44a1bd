/* Pooling and means: sums are made in float32 and rounded once. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ops.h"

struct pool {
    struct window window;
    bool average, ceil_mode, count_padding;
};

static float pool_one(const struct pool *p, const float *x, int64_t height, int64_t width, int64_t row, int64_t column) {
    const struct window *w = &p->window;
    int64_t top = row * w->stride[0] - w->before[0], left = column * w->stride[1] - w->before[1];
    int64_t bottom = top + w->kernel[0], right = left + w->kernel[1];
    /* a window of ceil_mode may end behind the padding; what is there counts for nothing */
    int64_t below = height + w->after[0], beyond = width + w->after[1];
    int64_t counted = ((bottom < below ? bottom : below) - top) * ((right < beyond ? right : beyond) - left), inside = 0;
    float sum = 0.0f, largest = -INFINITY;
    for (int64_t h = top < 0 ? 0 : top; h < bottom && h < height; h++)
        for (int64_t v = left < 0 ? 0 : left; v < right && v < width; v++, inside++) {
            float value = x[h * width + v];
            sum += value;
            if (value > largest || isnan(value)) largest = value;
        }
    if (!p->average) return largest;
    return sum / (float)(p->count_padding ? counted : inside > 0 ? inside : 1);
}

static struct tensor *pool(const struct call *call, struct pool *p, bool global) {
    const struct tensor *input = call->in[0];
    if (!dtype_is_float(input->dtype))
        return op_error(call, "the input is %s; only floating types are simulated", dtype_name(input->dtype));
    struct tensor *x = op_to_nchw(call, input, 0);
    if (x == NULL) return NULL;
    int64_t height = x->dims[2], width = x->dims[3];
    if (global) p->window = (struct window){.kernel = {height, width}, .stride = {1, 1}};
    p->window.dilation[0] = p->window.dilation[1] = 1;
    int64_t dims[4] = {x->dims[0], x->dims[1], window_extent(&p->window, 0, height, p->ceil_mode),
                       window_extent(&p->window, 1, width, p->ceil_mode)};
    struct tensor *y = dims[2] > 0 && dims[3] > 0 ? tensor_new(x->dtype, ACL_FORMAT_NCHW, 4, dims)
                                                  : op_error(call, "the window is larger than the padded input");
    int64_t to = 0;
    for (int64_t plane = 0; y != NULL && plane < dims[0] * dims[1]; plane++)
        for (int64_t r = 0; r < dims[2]; r++)
            for (int64_t c = 0; c < dims[3]; c++) y->f[to++] = pool_one(p, x->f + plane * height * width, height, width, r, c);
    tensor_free(x);
    if (y != NULL) tensor_round(y);
    return op_from_nchw(call, y, input);
}

/* TensorFlow's "SAME": as many windows as strides fit, the odd padding behind. */
static void pad_same(struct window *w, const int64_t *size) {
    for (int i = 0; i < 2; i++) {
        int64_t outputs = w->stride[i] > 0 ? (size[i] + w->stride[i] - 1) / w->stride[i] : 0;
        int64_t padding = (outputs - 1) * w->stride[i] + w->kernel[i] - size[i];
        if (padding < 0) padding = 0;
        w->before[i] = padding / 2;
        w->after[i] = padding - padding / 2;
    }
}

/* ksize, strides and padding as the operators of the MaxPool and AvgPool families have them. */
static bool read_pool(const struct call *call, struct pool *p) {
    int64_t ksize[4], strides[4], pads[4];
    struct view text;
    bool nchw = !attr_string(call->op->raw, OP_ATTRS, "data_format", &text) || view_equals(text, "NCHW");
    int h = nchw ? 2 : 1;
    if (!op_ints(call, "ksize", ksize, 4) || !op_ints(call, "strides", strides, 4)) return false;
    struct window *w = &p->window;
    *w = (struct window){.kernel = {ksize[h], ksize[h + 1]}, .stride = {strides[h], strides[h + 1]}};
    bool named = attr_string(call->op->raw, OP_ATTRS, "padding_mode", &text) || attr_string(call->op->raw, OP_ATTRS, "padding", &text);
    if (named && view_equals(text, "VALID")) return true;
    if (named && view_equals(text, "SAME")) {
        pad_same(w, call->in[0]->dims + 2); /* NCHW and NC1HWC0 both have H and W here */
        return true;
    }
    if (!op_ints(call, "pads", pads, 4)) return false;
    w->before[0] = pads[0], w->after[0] = pads[1], w->before[1] = pads[2], w->after[1] = pads[3];
    return true;
}

static struct tensor *run(const struct call *call, bool average) {
    struct pool p = {
        .average = average, .ceil_mode = op_bool(call, "ceil_mode", false), .count_padding = !op_bool(call, "exclusive", true)};
    bool global = op_bool(call, "global_pooling", false);
    return global || read_pool(call, &p) ? pool(call, &p, global) : NULL;
}

struct tensor *op_max_pool(const struct call *call) { return run(call, false); }
struct tensor *op_avg_pool(const struct call *call) { return run(call, true); }

/* Caffe's: mode 0 is max, 1 average; ceil_mode 0 rounds up. */
struct tensor *op_pooling(const struct call *call) {
    int64_t window[2], stride[2], pad[4];
    struct pool p = {.average = op_int(call, "mode", 0) == 1, .ceil_mode = op_int(call, "ceil_mode", 0) == 0, .count_padding = true};
    bool global = op_bool(call, "global_pooling", false);
    if (!global && !(op_ints(call, "window", window, 2) && op_ints(call, "stride", stride, 2) && op_ints(call, "pad", pad, 4))) return NULL;
    if (!global)
        p.window = (struct window){
            .kernel = {window[0], window[1]}, .stride = {stride[0], stride[1]}, .before = {pad[0], pad[2]}, .after = {pad[1], pad[3]}};
    return pool(call, &p, global);
}

struct tensor *op_global_average_pool(const struct call *call) {
    struct pool p = {.average = true};
    return pool(call, &p, true);
}

/* --- ReduceMean ----------------------------------------------------------------------------------------------------------- */

/* The set of axes as bits; -1 after op_error(). */
static int read_axes(const struct call *call, int ndim) {
    int64_t axes[RANK];
    int count = attr_ints(call->op->raw, OP_ATTRS, "axes", axes, RANK), bits = 0;
    if (call->n_in > 1) {
        const struct tensor *given = call->in[1];
        count = dtype_is_float(given->dtype) || given->count > RANK ? -1 : (int)given->count;
        if (count > 0) memcpy(axes, given->i, (size_t)count * sizeof *axes);
    }
    for (int i = 0; i < count && i < RANK; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + ndim : axes[i];
        if (axis < 0 || axis >= ndim)
            count = -1;
        else
            bits |= 1 << axis;
    }
    if (count < 0 || count > RANK) op_error(call, "its axes are missing or not axes of the input");
    return count < 0 || count > RANK ? -1 : count == 0 ? (1 << ndim) - 1 : bits;
}

struct tensor *op_reduce_mean(const struct call *call) {
    const struct tensor *x = call->in[0];
    int axes = read_axes(call, x->ndim);
    if (axes < 0) return NULL;
    if (!dtype_is_float(x->dtype) || x->format == ACL_FORMAT_NC1HWC0)
        return op_error(call, "an input %s in %s is not simulated", dtype_name(x->dtype), format_name(x->format));
    bool keep = op_bool(call, "keep_dims", false);
    int64_t dims[RANK], strides[RANK], stride = 1, many = 1;
    int ndim = 0;
    for (int i = x->ndim - 1; i >= 0; i--) {
        bool reduced = axes >> i & 1;
        strides[i] = reduced ? 0 : stride;
        if (reduced)
            many *= x->dims[i];
        else
            stride *= x->dims[i];
    }
    for (int i = 0; i < x->ndim; i++) {
        if (!(axes >> i & 1))
            dims[ndim++] = x->dims[i];
        else if (keep)
            dims[ndim++] = 1;
    }
    struct tensor *y = tensor_new(x->dtype, x->format, ndim, dims);
    if (y == NULL) return NULL;
    for (int64_t from = 0; from < x->count; from++) {
        int64_t rest = from, to = 0;
        for (int i = x->ndim - 1; i >= 0; i--) to += rest % x->dims[i] * strides[i], rest /= x->dims[i];
        y->f[to] += x->f[from];
    }
    for (int64_t i = 0; i < y->count; i++) y->f[i] /= (float)many;
    tensor_round(y);
    return y;
}
