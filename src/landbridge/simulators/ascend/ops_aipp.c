/* Static image preprocessing (AIPP): from the raw image that the caller gives to what the network computes with.
 *
 * In the vendor's order: unpack the format, crop, put the extra channel behind (ax_swap_switch), swap (rbuv_swap_switch), convert the
 * colour space, normalise, pad. How the four-byte formats and their swaps are meant follows the vendor's texts; no device was seen. */
#include <inttypes.h>
#include <string.h>

#include "aipp.h"
#include "ops.h"

enum { YUV420SP = 1, XRGB8888, RGB888, YUV400, ARGB8888 = 7, YUYV, YUV422SP, AYUV444 };

struct frame { /* what is read of the image, and what is put around it; all in pixels */
    int64_t height, width;
    int64_t top, left, rows, columns;
    int64_t above, below, before, behind;
};

static bool is_yuv(int format) { return format == YUV420SP || format == YUYV || format == YUV422SP || format == AYUV444; }
static bool is_four_byte(int format) { return format == XRGB8888 || format == ARGB8888 || format == AYUV444; }

/* The shape of the raw image, NHWC, without its batch: rows for each row of the image (in halves), and values for each pixel. */
static bool raw_form(int format, int *half_rows, int64_t *depth) {
    *half_rows = format == YUV420SP ? 3 : format == YUV422SP ? 4 : 2;
    *depth = format == RGB888 ? 3 : is_four_byte(format) ? 4 : format == YUYV ? 2 : 1;
    return format == YUV420SP || format == RGB888 || format == YUV400 || format == YUYV || format == YUV422SP || is_four_byte(format);
}

/* The values of one pixel, in the order in which the format stores them. */
static void unpack(int format, const int64_t *image, const struct frame *size, int64_t y, int64_t x, int64_t *c) {
    int64_t area = size->height * size->width, at = y * size->width + x, even = x & ~(int64_t)1;
    int64_t chroma = area + (format == YUV420SP ? y / 2 : y) * size->width + even;
    const int64_t *pair = image + 2 * (y * size->width + even);
    switch (format) {
        case YUV420SP:
        case YUV422SP: c[0] = image[at], c[1] = image[chroma], c[2] = image[chroma + 1]; break;
        case YUYV: c[0] = pair[x & 1 ? 2 : 0], c[1] = pair[1], c[2] = pair[3]; break;
        case YUV400: c[0] = image[at]; break;
        case RGB888: memcpy(c, image + 3 * at, 3 * sizeof *c); break;
        default: memcpy(c, image + 4 * at, 4 * sizeof *c); break;
    }
}

static void swap(const aclAippInfo *info, int64_t *c) {
    int64_t first = c[0];
    if (info->axSwapSwitch && is_four_byte(info->inputFormat)) c[0] = c[1], c[1] = c[2], c[2] = c[3], c[3] = first;
    if (!info->rbuvSwapSwitch || info->inputFormat == YUV400) return;
    int other = is_yuv(info->inputFormat) ? 1 : 0;
    int64_t kept = c[other];
    c[other] = c[2], c[2] = kept;
}

static void convert_colours(const aclAippInfo *info, int64_t *c) {
    int64_t from[3], sum;
    if (!info->cscSwitch) return;
    for (int i = 0; i < 3; i++) from[i] = c[i] - info->inputBias[i];
    for (int i = 0; i < 3; i++) {
        const int32_t *row = info->matrix + 3 * i;
        sum = ((row[0] * from[0] + row[1] * from[1] + row[2] * from[2]) >> 8) + info->outputBias[i];
        c[i] = sum < 0 ? 0 : sum > 255 ? 255 : sum;
    }
}

/* Where the image is cropped and padded; false after op_error(). */
static bool read_frame(const struct call *call, const aclAippInfo *info, const struct tensor *raw, int half_rows, struct frame *f) {
    bool crops = info->cropSwitch, pads = info->paddingSwitch;
    *f = (struct frame){.height = raw->dims[1] * 2 / half_rows, .width = raw->dims[2]};
    if (crops) f->top = info->loadStartPosH, f->left = info->loadStartPosW;
    if (pads) f->above = info->topPaddingSize, f->below = info->bottomPaddingSize;
    if (pads) f->before = info->leftPaddingSize, f->behind = info->rightPaddingSize;
    f->rows = crops && info->cropSizeH ? info->cropSizeH : f->height - f->top;
    f->columns = crops && info->cropSizeW ? info->cropSizeW : f->width - f->left;
    bool halves = half_rows != 2 || info->inputFormat == YUYV;
    if ((info->srcImageSizeW && info->srcImageSizeW != f->width) || (info->srcImageSizeH && info->srcImageSizeH != f->height))
        op_error(call, "AIPP's source image is %d x %d, the input's is %" PRId64 " x %" PRId64, info->srcImageSizeH, info->srcImageSizeW,
                 f->height, f->width);
    else if (halves && (f->width % 2 || raw->dims[1] * 2 % half_rows))
        op_error(call, "an image of %" PRId64 " x %" PRId64 " cannot have chroma of half that", f->height, f->width);
    else if (f->top < 0 || f->left < 0 || f->rows <= 0 || f->columns <= 0 || f->top + f->rows > f->height ||
             f->left + f->columns > f->width)
        op_error(call, "AIPP crops %" PRId64 " x %" PRId64 " at (%" PRId64 ", %" PRId64 ") of an image of %" PRId64 " x %" PRId64, f->rows,
                 f->columns, f->top, f->left, f->height, f->width);
    else if (f->above < 0 || f->below < 0 || f->before < 0 || f->behind < 0)
        op_error(call, "AIPP pads by less than nothing");
    else
        return true;
    return false;
}

/* What is not simulated; false after op_error(). */
static bool check(const struct call *call, const aclAippInfo *info, const struct tensor *raw, int64_t depth, int64_t channels) {
    int64_t most = info->inputFormat == YUV400 ? 1 : is_four_byte(info->inputFormat) ? 4 : 3;
    if (info->resizeSwitch || info->singleLineMode)
        op_error(call, "%s of AIPP is not simulated", info->resizeSwitch ? "resize" : "single_line_mode");
    else if (info->cscSwitch && info->inputFormat == YUV400)
        op_error(call, "csc_switch of AIPP needs an image of three channels");
    else if (raw->dtype != ACL_UINT8 || raw->ndim != 4 || raw->dims[3] != depth)
        op_error(call, "AIPP reads an image uint8 [n, h, w, %" PRId64 "] here", depth);
    else if (channels != most && !(most == 4 && channels == 3))
        op_error(call, "AIPP gives %" PRId64 " channels, the network takes %" PRId64, most, channels);
    else
        return true;
    return false;
}

struct tensor *aipp_apply(const struct call *call, const struct aipp *aipp, const struct tensor *raw, int64_t channels) {
    const aclAippInfo *info = &aipp->info;
    int half_rows;
    int64_t depth, c[4], to = 0;
    struct frame f;
    if (!raw_form(info->inputFormat, &half_rows, &depth))
        return op_error(call, "AIPP's input format %d is not simulated", info->inputFormat);
    if (!check(call, info, raw, depth, channels) || !read_frame(call, info, raw, half_rows, &f)) return NULL;
    int64_t dims[4] = {raw->dims[0], channels, f.above + f.rows + f.below, f.before + f.columns + f.behind};
    struct tensor *result = tensor_new(ACL_FLOAT16, ACL_FORMAT_NCHW, 4, dims);
    if (result == NULL) return NULL;
    int64_t plane = dims[2] * dims[3], image = raw->dims[1] * raw->dims[2] * raw->dims[3];
    for (to = 0; to < result->count; to++) result->f[to] = aipp->padding_value;
    for (int64_t n = 0; n < dims[0]; n++)
        for (int64_t y = 0; y < f.rows; y++)
            for (int64_t x = 0; x < f.columns; x++) {
                unpack(info->inputFormat, raw->i + n * image, &f, f.top + y, f.left + x, c);
                swap(info, c);
                convert_colours(info, c);
                to = n * channels * plane + (f.above + y) * dims[3] + f.before + x;
                for (int64_t k = 0; k < channels; k++)
                    result->f[to + k * plane] = ((float)(c[k] - info->meanChn[k]) - info->minChn[k]) * info->varReciChn[k];
            }
    tensor_round(result);
    return result;
}

struct tensor *op_aipp(const struct call *call) {
    if (call->op->aipp == NULL || call->op->n_out_desc == 0)
        return op_error(call, "it has no %s", call->op->aipp == NULL ? "attribute 'aipp'" : "output descriptor");
    const struct desc *desc = &call->op->out_desc[0];
    int64_t channels = desc->format == ACL_FORMAT_NHWC ? desc->dims[3] : desc->dims[1];
    if (desc->ndim != 4 || (desc->format != ACL_FORMAT_NCHW && desc->format != ACL_FORMAT_NHWC))
        return op_error(call, "AIPP to %s is not simulated; to NCHW and NHWC it is", format_name(desc->format));
    struct tensor *plain = aipp_apply(call, call->op->aipp, call->in[0], channels);
    if (plain == NULL || desc->format == ACL_FORMAT_NCHW) return plain;
    int64_t dims[4] = {plain->dims[0], plain->dims[2], plain->dims[3], plain->dims[1]};
    struct tensor *result = tensor_transform(plain, desc->format, 4, dims);
    tensor_free(plain);
    return result;
}
