/* Conv2D and DepthwiseConv2D: products are summed in float32 and rounded once, as the cube unit does. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

struct tensor *op_to_nchw(const struct call *call, const struct tensor *x, int64_t channels) {
    int64_t dims[4];
    if (x->ndim == 4 && (x->format == ACL_FORMAT_NCHW || x->format == ACL_FORMAT_ND)) return tensor_reshape(x, ACL_FORMAT_NCHW, 4, x->dims);
    if (x->ndim == 5 && x->format == ACL_FORMAT_NC1HWC0) {
        int64_t stored = x->dims[1] * x->dims[4];
        memcpy(dims, (int64_t[]){x->dims[0], channels > 0 ? channels : stored, x->dims[2], x->dims[3]}, sizeof dims);
        return tensor_transform(x, ACL_FORMAT_NCHW, 4, dims);
    }
    char shape[128];
    shape_text(shape, sizeof shape, x->ndim, x->dims);
    return op_error(call, "an input %s %s is not simulated here; NCHW and NC1HWC0 are", format_name(x->format), shape);
}

struct tensor *op_from_nchw(const struct call *call, struct tensor *y, const struct tensor *x) {
    const struct desc *desc = call->op->n_out_desc > 0 ? &call->op->out_desc[0] : NULL;
    bool described = desc != NULL && desc->format == ACL_FORMAT_NC1HWC0 && desc->ndim == 5 && desc->dims[4] > 0;
    if (y == NULL || (x->format != ACL_FORMAT_NC1HWC0 && !described)) return y;
    int64_t c0 = x->format == ACL_FORMAT_NC1HWC0 ? x->dims[4] : desc->dims[4];
    int64_t dims[5] = {y->dims[0], (y->dims[1] + c0 - 1) / c0, y->dims[2], y->dims[3], c0};
    struct tensor *stored = tensor_transform(y, ACL_FORMAT_NC1HWC0, 5, dims);
    tensor_free(y);
    return stored;
}

int64_t window_extent(const struct window *w, int axis, int64_t size, bool ceil_mode) {
    int64_t padded = size + w->before[axis] + w->after[axis], span = (w->kernel[axis] - 1) * w->dilation[axis] + 1;
    if (w->stride[axis] <= 0 || w->dilation[axis] <= 0 || w->kernel[axis] <= 0 || padded < span) return 0;
    int64_t steps = (padded - span + (ceil_mode ? w->stride[axis] - 1 : 0)) / w->stride[axis];
    if (ceil_mode && steps * w->stride[axis] >= size + w->before[axis]) steps--; /* no window begins behind the input */
    return steps + 1;
}

/* The filter as [out, in / groups, kh, kw], whatever format it is stored in. */
static struct tensor *plain_filter(const struct call *call, const struct tensor *w) {
    int64_t dims[4];
    if (w->ndim == 4 && (w->format == ACL_FORMAT_NCHW || w->format == ACL_FORMAT_ND)) return tensor_reshape(w, ACL_FORMAT_NCHW, 4, w->dims);
    if (w->format == ACL_FORMAT_HWCN && w->ndim == 4) {
        memcpy(dims, (int64_t[]){w->dims[3], w->dims[2], w->dims[0], w->dims[1]}, sizeof dims);
        return tensor_transform(w, ACL_FORMAT_NCHW, 4, dims);
    }
    struct view origin = {NULL, 0};
    bool nchw = call->op->n_in_desc > 1 && attr_string(call->op->in_desc[1].raw, DESC_ATTRS, "origin_format", &origin) &&
                view_equals(origin, "NCHW");
    if (w->format != ACL_FORMAT_FRACTAL_Z || !nchw || attr_ints(call->op->in_desc[1].raw, DESC_ATTRS, "origin_shape", dims, 4) != 4)
        return op_error(call, "a filter in %s is not simulated; NCHW, HWCN and FRACTAL_Z made from NCHW are", format_name(w->format));
    return tensor_transform(w, ACL_FORMAT_NCHW, 4, dims);
}

/* One output plane: y += filter * x, for one input channel. */
static void accumulate(const struct window *w, const float *x, int64_t height, int64_t width, const float *filter, float *y, int64_t rows,
                       int64_t columns) {
    for (int64_t kh = 0; kh < w->kernel[0]; kh++)
        for (int64_t kw = 0; kw < w->kernel[1]; kw++) {
            float weight = filter[kh * w->kernel[1] + kw];
            int64_t shift = kw * w->dilation[1] - w->before[1];
            int64_t first = shift >= 0 ? 0 : (-shift + w->stride[1] - 1) / w->stride[1];
            int64_t end = shift >= width ? 0 : (width - 1 - shift) / w->stride[1] + 1;
            if (end > columns) end = columns;
            for (int64_t r = 0; r < rows; r++) {
                int64_t h = r * w->stride[0] + kh * w->dilation[0] - w->before[0];
                if (h < 0 || h >= height) continue;
                const float *from = x + h * width + shift;
                float *to = y + r * columns;
                for (int64_t c = first; c < end; c++) to[c] += weight * from[c * w->stride[1]];
            }
        }
}

static struct tensor *convolve(const struct call *call, const struct tensor *x, const struct tensor *filter, const struct tensor *bias,
                               const struct window *w, int64_t groups) {
    int64_t batch = x->dims[0], channels = x->dims[1], height = x->dims[2], width = x->dims[3];
    int64_t outs = filter->dims[0], ins = filter->dims[1];
    int64_t dims[4] = {batch, outs, window_extent(w, 0, height, false), window_extent(w, 1, width, false)};
    if (groups <= 0 || ins * groups != channels || outs % groups != 0)
        return op_error(call, "%" PRId64 " channels do not fit a filter of %" PRId64 " -> %" PRId64 " in %" PRId64 " groups", channels, ins,
                        outs, groups);
    if (dims[2] <= 0 || dims[3] <= 0) return op_error(call, "the window is larger than the padded input");
    if (bias != NULL && bias->count < outs)
        return op_error(call, "the bias has %" PRId64 " numbers for %" PRId64 " channels", bias->count, outs);
    struct tensor *y = tensor_new(op_dtype(call, x->dtype), ACL_FORMAT_NCHW, 4, dims);
    if (y == NULL) return NULL;
    int64_t plane = dims[2] * dims[3], window = w->kernel[0] * w->kernel[1];
    for (int64_t n = 0; n < batch; n++)
        for (int64_t o = 0; o < outs; o++) {
            float *to = y->f + (n * outs + o) * plane;
            for (int64_t i = 0; i < ins; i++) {
                const float *from = x->f + (n * channels + o / (outs / groups) * ins + i) * height * width;
                accumulate(w, from, height, width, filter->f + (o * ins + i) * window, to, dims[2], dims[3]);
            }
            for (int64_t k = 0; bias != NULL && k < plane; k++) to[k] += bias->f[o];
        }
    tensor_round(y);
    return y;
}

/* A kernel that the vendor fused keeps no strides and pads. Without dilation, the one stride and the one even padding that give
 * the output's extent; false after op_error() when there is none, or more than one. */
static bool derive_axis(const struct call *call, struct window *w, int axis, int64_t size, int64_t wanted) {
    int found = 0;
    struct window tried = *w;
    for (int64_t stride = 1; stride <= w->kernel[axis]; stride++)
        for (int64_t padding = 0; padding <= 2 * (w->kernel[axis] - 1); padding++) {
            tried.stride[axis] = stride, tried.before[axis] = padding / 2, tried.after[axis] = padding - padding / 2;
            if (window_extent(&tried, axis, size, false) == wanted) *w = tried, found += padding % 2 ? 2 : 1;
            tried = *w;
        }
    if (found != 1)
        op_error(call,
                 "it keeps no strides and pads, and its shapes leave open which: %" PRId64 " -> %" PRId64 " with a window of %" PRId64,
                 size, wanted, w->kernel[axis]);
    return found == 1;
}

static bool derive_window(const struct call *call, const struct tensor *x, const struct tensor *filter, struct window *w) {
    const struct desc *desc = &call->op->out_desc[0];
    bool plain = call->op->n_out_desc > 0 && (desc->format == ACL_FORMAT_NCHW || desc->format == ACL_FORMAT_NC1HWC0) && desc->ndim >= 4;
    if (!plain || x->ndim < 4) return op_ints(call, "strides", (int64_t[4]){0}, 4);
    *w = (struct window){.kernel = {filter->dims[2], filter->dims[3]}, .dilation = {1, 1}};
    return derive_axis(call, w, 0, x->dims[2], desc->dims[2]) && derive_axis(call, w, 1, x->dims[3], desc->dims[3]);
}

static bool read_window(const struct call *call, const struct tensor *filter, struct window *w) {
    int64_t strides[4], pads[4], dilations[4] = {1, 1, 1, 1};
    struct view format;
    bool kept = attr_ints(call->op->raw, OP_ATTRS, "strides", strides, 0) >= 0 || attr_ints(call->op->raw, OP_ATTRS, "pads", pads, 0) >= 0;
    if (!kept) return derive_window(call, call->in[0], filter, w);
    bool nchw = !attr_string(call->op->raw, OP_ATTRS, "data_format", &format) || view_equals(format, "NCHW");
    if (!op_ints(call, "strides", strides, 4) || !op_ints(call, "pads", pads, 4)) return false;
    if (attr_ints(call->op->raw, OP_ATTRS, "dilations", dilations, 0) >= 0 && !op_ints(call, "dilations", dilations, 4)) return false;
    int h = nchw ? 2 : 1;
    *w = (struct window){.kernel = {filter->dims[2], filter->dims[3]},
                         .stride = {strides[h], strides[h + 1]},
                         .dilation = {dilations[h], dilations[h + 1]},
                         .before = {pads[0], pads[2]},
                         .after = {pads[1], pads[3]}};
    return true;
}

static struct tensor *run(const struct call *call, struct tensor *filter, int64_t groups) {
    const struct tensor *input = call->in[0], *bias = call->n_in > 2 ? call->in[2] : NULL;
    struct window window = {0};
    struct tensor *x = NULL, *y = NULL;
    if (filter != NULL && read_window(call, filter, &window)) x = op_to_nchw(call, input, filter->dims[1] * groups);
    if (x != NULL) y = op_from_nchw(call, convolve(call, x, filter, bias, &window, groups), input);
    tensor_free(x);
    tensor_free(filter);
    return y;
}

static bool all_float(const struct call *call) {
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i] != NULL && !dtype_is_float(call->in[i]->dtype)) {
            op_error(call, "input %d is %s; only floating types are simulated", i, dtype_name(call->in[i]->dtype));
            return false;
        }
    return true;
}

struct tensor *op_conv2d(const struct call *call) {
    return all_float(call) ? run(call, plain_filter(call, call->in[1]), op_int(call, "groups", 1)) : NULL;
}

/* The filter is [multiplier, channels, kh, kw]; [channels * multiplier, 1, kh, kw] is taken too. */
struct tensor *op_depthwise(const struct call *call) {
    if (!all_float(call)) return NULL;
    struct tensor *filter = plain_filter(call, call->in[1]);
    if (filter == NULL) return NULL;
    if (filter->dims[1] == 1) return run(call, filter, call->in[0]->format == ACL_FORMAT_NC1HWC0 ? filter->dims[0] : call->in[0]->dims[1]);
    int64_t many = filter->dims[0], channels = filter->dims[1], window = filter->dims[2] * filter->dims[3];
    struct tensor *grouped =
        tensor_new(filter->dtype, ACL_FORMAT_NCHW, 4, (int64_t[]){channels * many, 1, filter->dims[2], filter->dims[3]});
    for (int64_t m = 0; grouped != NULL && m < many; m++)
        for (int64_t c = 0; c < channels; c++)
            memcpy(grouped->f + (c * many + m) * window, filter->f + (m * channels + c) * window, (size_t)window * sizeof(float));
    tensor_free(filter);
    return run(call, grouped, channels);
}
