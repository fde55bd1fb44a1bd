/* The operators that are simulated, by the names they have in the file (GE's). */
#ifndef LANDBRIDGE_ASCEND_OPS_H
#define LANDBRIDGE_ASCEND_OPS_H

#include "om.h"

struct call {
    const struct op *op;
    const struct tensor *const *in; /* n_in of them; NULL where an optional input is absent */
    int n_in;
};

struct kernel {
    const char *type;
    struct tensor *(*run)(const struct call *call); /* NULL for what the graph itself handles, and for what only steers */
    int min_inputs, max_inputs;
};

/* Store the text "operator 'name' (type): ..."; returns NULL, so that a kernel can return it. */
struct tensor *op_error(const struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Attributes of the operator, or what stands for them when missing. */
int64_t op_int(const struct call *call, const char *name, int64_t otherwise);
bool op_bool(const struct call *call, const char *name, bool otherwise);
/* Exactly `count` integers; false after op_error(). */
bool op_ints(const struct call *call, const char *name, int64_t *out, int count);

/* The dtype of the operator's output: the descriptor's, when it names one that is simulated, else `otherwise`. */
int op_dtype(const struct call *call, int otherwise);

/* x as NCHW with `channels` channels (0: as many as are stored), and the inverse: y in the format that x has. A new tensor
 * each time, or NULL after fail(). */
struct tensor *op_to_nchw(const struct call *call, const struct tensor *x, int64_t channels);
struct tensor *op_from_nchw(const struct call *call, struct tensor *y, const struct tensor *x); /* takes y over */

/* Stride, padding and dilation of a window over H and W. */
struct window {
    int64_t kernel[2], stride[2], dilation[2], before[2], after[2];
};
int64_t window_extent(const struct window *w, int axis, int64_t size, bool ceil_mode); /* of the output; <= 0 when none fits */

/* The network's image, float16 NCHW, of a raw image uint8 NHWC; NULL after op_error(). */
struct tensor *aipp_apply(const struct call *call, const struct aipp *aipp, const struct tensor *raw, int64_t channels);

struct tensor *op_conv2d(const struct call *call);
struct tensor *op_depthwise(const struct call *call);
struct tensor *op_max_pool(const struct call *call);
struct tensor *op_avg_pool(const struct call *call);
struct tensor *op_pooling(const struct call *call);
struct tensor *op_global_average_pool(const struct call *call);
struct tensor *op_reduce_mean(const struct call *call);
struct tensor *op_matmul(const struct call *call);
struct tensor *op_batch_matmul(const struct call *call);
struct tensor *op_fully_connection(const struct call *call);
struct tensor *op_binary(const struct call *call);
struct tensor *op_unary(const struct call *call);
struct tensor *op_bias_add(const struct call *call);
struct tensor *op_softmax(const struct call *call);
struct tensor *op_cast(const struct call *call);
struct tensor *op_trans_data(const struct call *call);
struct tensor *op_reshape(const struct call *call);
struct tensor *op_flatten(const struct call *call);
struct tensor *op_transpose(const struct call *call);
struct tensor *op_concat(const struct call *call);
struct tensor *op_aipp(const struct call *call);
struct tensor *op_non_zero(const struct call *call);
struct tensor *op_identity(const struct call *call);

#endif
