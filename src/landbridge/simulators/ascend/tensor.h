/* Tensors inside the simulator, and the bytes they have in files and on the device.
 *
 * Numbers are computed in float and int64 and kept representable in the tensor's dtype: a float16 tensor holds floats that
 * are float16 numbers. */
#ifndef LANDBRIDGE_ASCEND_TENSOR_H
#define LANDBRIDGE_ASCEND_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "acl.h"

#define RANK 8

struct tensor {
    int dtype;  /* aclDataType */
    int format; /* aclFormat of the storage: NCHW, NC1HWC0, ... */
    int ndim;
    int64_t dims[RANK];
    int64_t count; /* of elements */
    union {
        float *f;
        int64_t *i;
    }; /* which one is told by dtype_is_float */
};

bool dtype_is_simulated(int dtype);
bool dtype_is_float(int dtype);
size_t dtype_size(int dtype); /* bytes; 0 for an unknown one */
const char *dtype_name(int dtype);
const char *format_name(int format);
int format_parse(const char *name, size_t length);

int64_t count_of(int ndim, const int64_t *dims); /* -1 for a negative extent or an overflow */
void shape_text(char *text, size_t room, int ndim, const int64_t *dims);

float half_round(float x); /* to the nearest float16, ties to even */

struct tensor *tensor_new(int dtype, int format, int ndim, const int64_t *dims); /* zeroed; NULL after fail() */
void tensor_free(struct tensor *t);
void tensor_decode(struct tensor *t, const unsigned char *bytes);
void tensor_encode(const struct tensor *t, unsigned char *bytes);
void tensor_round(struct tensor *t); /* make what was computed representable in the dtype */
struct tensor *tensor_cast(const struct tensor *t, int dtype);
struct tensor *tensor_reshape(const struct tensor *t, int format, int ndim, const int64_t *dims); /* a copy */

/* Change the storage format to a shape in it; padding is zero. One of the two forms is plain. NULL after fail(). */
struct tensor *tensor_transform(const struct tensor *t, int format, int ndim, const int64_t *dims);

#endif
