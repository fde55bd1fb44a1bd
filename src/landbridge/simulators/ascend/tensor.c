#include "tensor.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const struct {
    int dtype;
    const char *name;
    size_t size;
    bool simulated, is_float;
} DTYPES[] = {
    {ACL_FLOAT, "float32", 4, true, true},  {ACL_FLOAT16, "float16", 2, true, true}, {ACL_INT8, "int8", 1, true, false},
    {ACL_INT32, "int32", 4, true, false},   {ACL_UINT8, "uint8", 1, true, false},    {ACL_INT16, "int16", 2, true, false},
    {ACL_UINT16, "uint16", 2, true, false}, {ACL_UINT32, "uint32", 4, true, false},  {ACL_INT64, "int64", 8, true, false},
    {ACL_BOOL, "bool", 1, true, false},     {ACL_UINT64, "uint64", 8, false, false}, {ACL_DOUBLE, "float64", 8, false, true},
    {ACL_BF16, "bfloat16", 2, true, true},
};

static const struct {
    int format;
    const char *name;
} FORMATS[] = {
    {ACL_FORMAT_ND, "ND"},
    {ACL_FORMAT_NCHW, "NCHW"},
    {ACL_FORMAT_NHWC, "NHWC"},
    {ACL_FORMAT_HWCN, "HWCN"},
    {ACL_FORMAT_NC1HWC0, "NC1HWC0"},
    {ACL_FORMAT_FRACTAL_Z, "FRACTAL_Z"},
    {ACL_FORMAT_FRACTAL_NZ, "FRACTAL_NZ"},
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static size_t dtype_row(int dtype) {
    size_t row = 0;
    while (row < LENGTH(DTYPES) && DTYPES[row].dtype != dtype) row++;
    return row;
}

bool dtype_is_simulated(int dtype) { return dtype_row(dtype) < LENGTH(DTYPES) && DTYPES[dtype_row(dtype)].simulated; }
bool dtype_is_float(int dtype) { return dtype_row(dtype) < LENGTH(DTYPES) && DTYPES[dtype_row(dtype)].is_float; }
size_t dtype_size(int dtype) { return dtype_row(dtype) < LENGTH(DTYPES) ? DTYPES[dtype_row(dtype)].size : 0; }
const char *dtype_name(int dtype) { return dtype_row(dtype) < LENGTH(DTYPES) ? DTYPES[dtype_row(dtype)].name : "unknown"; }

const char *format_name(int format) {
    for (size_t i = 0; i < LENGTH(FORMATS); i++)
        if (FORMATS[i].format == format) return FORMATS[i].name;
    return "unknown";
}

int format_parse(const char *name, size_t length) {
    for (size_t i = 0; i < LENGTH(FORMATS); i++)
        if (strlen(FORMATS[i].name) == length && memcmp(FORMATS[i].name, name, length) == 0) return FORMATS[i].format;
    return ACL_FORMAT_UNDEFINED;
}

int64_t count_of(int ndim, const int64_t *dims) {
    int64_t count = 1;
    for (int i = 0; i < ndim; i++)
        if (dims[i] < 0 || __builtin_mul_overflow(count, dims[i], &count) || count > ((int64_t)1 << 40)) return -1;
    return count;
}

void shape_text(char *text, size_t room, int ndim, const int64_t *dims) {
    size_t used = (size_t)snprintf(text, room, "[");
    for (int i = 0; i < ndim && used < room; i++) used += (size_t)snprintf(text + used, room - used, "%s%" PRId64, i ? ", " : "", dims[i]);
    if (used < room) snprintf(text + used, room - used, "]");
}

/* --- float16 -------------------------------------------------------------------------------------------------------------- */

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float half_round(float x) {
    float magnitude = fabsf(x);
    if (!(magnitude < 65520.0f)) return isnan(x) ? x : copysignf(INFINITY, x);
    if (magnitude < 0x1p-14f) return copysignf((magnitude + 0.5f) - 0.5f, x); /* floats in [0.5, 1) are spaced like subnormal halves */
    uint32_t bits = bits_of(x);
    return float_of((bits + 0xFFF + ((bits >> 13) & 1)) & ~(uint32_t)0x1FFF);
}

static float half_decode(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, mantissa = half & 0x3FF;
    if (exponent == 31) return float_of(sign | 0x7F800000 | mantissa << 13);
    if (exponent == 0) return float_of(sign | bits_of((float)mantissa * 0x1p-24f));
    return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

static uint16_t half_encode(float x) {
    float rounded = half_round(x);
    uint32_t bits = bits_of(rounded), sign = bits >> 16 & 0x8000;
    if (isnan(rounded)) return (uint16_t)(sign | 0x7E00);
    if (isinf(rounded)) return (uint16_t)(sign | 0x7C00);
    if (fabsf(rounded) < 0x1p-14f) return (uint16_t)(sign | (uint32_t)(fabsf(rounded) * 0x1p24f));
    return (uint16_t)(sign | ((bits >> 13 & 0x3FFFF) - (112 << 10)));
}

/* --- bfloat16: the upper half of a float ----------------------------------------------------------------------------------- */

static float brain_round(float x) {
    uint32_t bits = bits_of(x);
    if (isnan(x)) return x;
    return float_of((bits + 0x7FFF + ((bits >> 16) & 1)) & ~(uint32_t)0xFFFF);
}

static float brain_decode(uint16_t brain) { return float_of((uint32_t)brain << 16); }

static uint16_t brain_encode(float x) { return isnan(x) ? 0x7FC0 : (uint16_t)(bits_of(brain_round(x)) >> 16); }

/* --- tensors -------------------------------------------------------------------------------------------------------------- */

struct tensor *tensor_new(int dtype, int format, int ndim, const int64_t *dims) {
    int64_t count = ndim <= RANK ? count_of(ndim, dims) : -1;
    if (count < 0 || !dtype_is_simulated(dtype)) {
        char shape[256];
        shape_text(shape, sizeof shape, ndim < RANK ? ndim : RANK, dims);
        fail(ACL_ERROR_RT_MODEL_EXECUTE, "simulator: a tensor %s %s is not simulated", dtype_name(dtype), shape);
        return NULL;
    }
    struct tensor *t = calloc(1, sizeof *t);
    size_t item = dtype_is_float(dtype) ? sizeof(float) : sizeof(int64_t);
    void *data = calloc(count > 0 ? (size_t)count : 1, item);
    if (t == NULL || data == NULL) {
        free(t);
        free(data);
        fail(ACL_ERROR_BAD_ALLOC, "simulator: out of host memory for a tensor of %" PRId64 " elements", count);
        return NULL;
    }
    *t = (struct tensor){.dtype = dtype, .format = format, .ndim = ndim, .count = count};
    if (ndim > 0) memcpy(t->dims, dims, (size_t)ndim * sizeof *dims);
    if (dtype_is_float(dtype))
        t->f = data;
    else
        t->i = data;
    return t;
}

void tensor_free(struct tensor *t) {
    if (t == NULL) return;
    free(dtype_is_float(t->dtype) ? (void *)t->f : (void *)t->i);
    free(t);
}

/* Run `body` with i over all elements. */
#define EACH(t, body)                          \
    for (int64_t i = 0; i < (t)->count; i++) { \
        body;                                  \
    }
#define DECODE(type) EACH(t, type x; memcpy(&x, bytes + i * (int64_t)sizeof x, sizeof x); t->i[i] = x)
#define ENCODE(type) EACH(t, type x = (type)t->i[i]; memcpy(bytes + i * (int64_t)sizeof x, &x, sizeof x))

void tensor_decode(struct tensor *t, const unsigned char *bytes) {
    switch (t->dtype) {
        case ACL_FLOAT: memcpy(t->f, bytes, (size_t)t->count * sizeof(float)); break;
        case ACL_FLOAT16: EACH(t, uint16_t x; memcpy(&x, bytes + 2 * i, 2); t->f[i] = half_decode(x)) break;
        case ACL_BF16: EACH(t, uint16_t x; memcpy(&x, bytes + 2 * i, 2); t->f[i] = brain_decode(x)) break;
        case ACL_INT8: DECODE(int8_t) break;
        case ACL_UINT8: DECODE(uint8_t) break;
        case ACL_BOOL: EACH(t, t->i[i] = bytes[i] != 0) break;
        case ACL_INT16: DECODE(int16_t) break;
        case ACL_UINT16: DECODE(uint16_t) break;
        case ACL_INT32: DECODE(int32_t) break;
        case ACL_UINT32: DECODE(uint32_t) break;
        default: DECODE(int64_t) break;
    }
}

void tensor_encode(const struct tensor *t, unsigned char *bytes) {
    switch (t->dtype) {
        case ACL_FLOAT: memcpy(bytes, t->f, (size_t)t->count * sizeof(float)); break;
        case ACL_FLOAT16: EACH(t, uint16_t x = half_encode(t->f[i]); memcpy(bytes + 2 * i, &x, 2)) break;
        case ACL_BF16: EACH(t, uint16_t x = brain_encode(t->f[i]); memcpy(bytes + 2 * i, &x, 2)) break;
        case ACL_INT8: ENCODE(int8_t) break;
        case ACL_UINT8: ENCODE(uint8_t) break;
        case ACL_BOOL: ENCODE(uint8_t) break;
        case ACL_INT16: ENCODE(int16_t) break;
        case ACL_UINT16: ENCODE(uint16_t) break;
        case ACL_INT32: ENCODE(int32_t) break;
        case ACL_UINT32: ENCODE(uint32_t) break;
        default: ENCODE(int64_t) break;
    }
}

/* Integers wrap around, as two's complement does. */
void tensor_round(struct tensor *t) {
    switch (t->dtype) {
        case ACL_FLOAT16: EACH(t, t->f[i] = half_round(t->f[i])) break;
        case ACL_BF16: EACH(t, t->f[i] = brain_round(t->f[i])) break;
        case ACL_INT8: EACH(t, t->i[i] = (int8_t)t->i[i]) break;
        case ACL_UINT8: EACH(t, t->i[i] = (uint8_t)t->i[i]) break;
        case ACL_BOOL: EACH(t, t->i[i] = t->i[i] != 0) break;
        case ACL_INT16: EACH(t, t->i[i] = (int16_t)t->i[i]) break;
        case ACL_UINT16: EACH(t, t->i[i] = (uint16_t)t->i[i]) break;
        case ACL_INT32: EACH(t, t->i[i] = (int32_t)t->i[i]) break;
        case ACL_UINT32: EACH(t, t->i[i] = (uint32_t)t->i[i]) break;
        default: break;
    }
}

/* Towards zero; what is out of range becomes the nearest end of it, and NaN 0. */
static int64_t truncate_float(float x, int dtype) {
    static const struct {
        int dtype;
        int64_t low, high;
    } RANGES[] = {{ACL_INT8, INT8_MIN, INT8_MAX}, {ACL_UINT8, 0, UINT8_MAX},         {ACL_INT16, INT16_MIN, INT16_MAX},
                  {ACL_UINT16, 0, UINT16_MAX},    {ACL_INT32, INT32_MIN, INT32_MAX}, {ACL_UINT32, 0, UINT32_MAX}};
    if (dtype == ACL_BOOL) return x != 0.0f;
    if (isnan(x)) return 0;
    int64_t low = INT64_MIN, high = INT64_MAX;
    for (size_t i = 0; i < LENGTH(RANGES); i++)
        if (RANGES[i].dtype == dtype) low = RANGES[i].low, high = RANGES[i].high;
    if (x >= (float)high) return high;
    return x <= (float)low ? low : (int64_t)x;
}

struct tensor *tensor_cast(const struct tensor *t, int dtype) {
    struct tensor *result = tensor_new(dtype, t->format, t->ndim, t->dims);
    if (result == NULL) return NULL;
    bool from_float = dtype_is_float(t->dtype), to_float = dtype_is_float(dtype);
    if (from_float && to_float) memcpy(result->f, t->f, (size_t)t->count * sizeof(float));
    if (from_float && !to_float) EACH(t, result->i[i] = truncate_float(t->f[i], dtype))
    if (!from_float && to_float) EACH(t, result->f[i] = (float)t->i[i])
    if (!from_float && !to_float) memcpy(result->i, t->i, (size_t)t->count * sizeof(int64_t));
    tensor_round(result);
    return result;
}

struct tensor *tensor_reshape(const struct tensor *t, int format, int ndim, const int64_t *dims) {
    struct tensor *result = tensor_cast(t, t->dtype);
    if (result == NULL) return NULL;
    result->format = format;
    result->ndim = ndim;
    memcpy(result->dims, dims, (size_t)ndim * sizeof *dims);
    return result;
}
