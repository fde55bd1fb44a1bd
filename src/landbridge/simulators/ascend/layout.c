/* Storage formats. Each is a function from (n, c, h, w) to a place; a change of format walks the logical elements once. */
#include <inttypes.h>
#include <string.h>

#include "sim.h"
#include "tensor.h"

struct extent {
    int64_t n, c, h, w;
};

/* The logical extents that a plain format spells out; false for the padded ones. */
static bool plain_extent(int format, const int64_t *d, struct extent *e) {
    switch (format) {
        case ACL_FORMAT_NCHW: *e = (struct extent){d[0], d[1], d[2], d[3]}; return true;
        case ACL_FORMAT_NHWC: *e = (struct extent){d[0], d[3], d[1], d[2]}; return true;
        case ACL_FORMAT_HWCN: *e = (struct extent){d[3], d[2], d[0], d[1]}; return true;
        default: return false;
    }
}

static int64_t place(int format, const int64_t *d, const struct extent *e, int64_t n, int64_t c, int64_t h, int64_t w) {
    switch (format) {
        case ACL_FORMAT_NCHW: return ((n * e->c + c) * e->h + h) * e->w + w;
        case ACL_FORMAT_NHWC: return ((n * e->h + h) * e->w + w) * e->c + c;
        case ACL_FORMAT_HWCN: return ((h * e->w + w) * e->c + c) * e->n + n;
        case ACL_FORMAT_NC1HWC0: return (((n * d[1] + c / d[4]) * e->h + h) * e->w + w) * d[4] + c % d[4];
        default: /* FRACTAL_Z: [c1 h w, n1, n0, c0] */
            return ((((c / d[3]) * e->h + h) * e->w + w) * d[1] + n / d[2]) * d[2] * d[3] + (n % d[2]) * d[3] + c % d[3];
    }
}

/* Whether the padded shape `d` has room for the extents, and just that. */
static bool fits(int format, int ndim, const int64_t *d, const struct extent *e) {
    if (format == ACL_FORMAT_NC1HWC0)
        return ndim == 5 && d[4] > 0 && d[0] == e->n && d[1] == (e->c + d[4] - 1) / d[4] && d[2] == e->h && d[3] == e->w;
    if (format == ACL_FORMAT_FRACTAL_Z)
        return ndim == 4 && d[2] > 0 && d[3] > 0 && d[0] == (e->c + d[3] - 1) / d[3] * e->h * e->w && d[1] == (e->n + d[2] - 1) / d[2];
    struct extent own;
    return ndim == 4 && plain_extent(format, d, &own) && memcmp(&own, e, sizeof own) == 0;
}

struct tensor *tensor_transform(const struct tensor *t, int format, int ndim, const int64_t *dims) {
    struct extent e;
    bool known = (t->ndim == 4 && plain_extent(t->format, t->dims, &e)) || (ndim == 4 && plain_extent(format, dims, &e));
    if (!known || !fits(t->format, t->ndim, t->dims, &e) || !fits(format, ndim, dims, &e)) {
        char from[128], to[128];
        shape_text(from, sizeof from, t->ndim, t->dims);
        shape_text(to, sizeof to, ndim, dims);
        fail(ACL_ERROR_RT_MODEL_EXECUTE, "simulator: no change of format from %s %s to %s %s", format_name(t->format), from,
             format_name(format), to);
        return NULL;
    }
    struct tensor *result = tensor_new(t->dtype, format, ndim, dims);
    if (result == NULL) return NULL;
    bool is_float = dtype_is_float(t->dtype);
    for (int64_t n = 0; n < e.n; n++)
        for (int64_t c = 0; c < e.c; c++)
            for (int64_t h = 0; h < e.h; h++)
                for (int64_t w = 0; w < e.w; w++) {
                    int64_t from = place(t->format, t->dims, &e, n, c, h, w), to = place(format, dims, &e, n, c, h, w);
                    if (is_float)
                        result->f[to] = t->f[from];
                    else
                        result->i[to] = t->i[from];
                }
    return result;
}
