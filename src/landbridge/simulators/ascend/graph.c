/* Walks the graph of a model: which operators a run needs, in which order, and what they give.
 *
 * A model with batch gears comes in two forms. Old files hold one branch per gear behind a StreamSwitchN, joined by a Merge,
 * and every branch has shapes of its own. Files with a Case hold one graph, whose shapes are those of the largest gear; then
 * the first extent of what depends on the inputs is the batch that was asked for. Kernels look at the tensors they get, not
 * at the descriptors, so that both forms run the same way.
 *
 * Image preprocessing comes in two forms too: as an operator Aipp, and fused into the operators that read the input. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aipp.h"
#include "om.h"
#include "ops.h"
#include "sim.h"

#define MANY 1000000

static const struct kernel KERNELS[] = {
    {"Data", NULL, 0, 1},
    {"Const", NULL, 0, 0},
    {"Constant", NULL, 0, 0},
    {"NetOutput", NULL, 1, MANY},
    {"Case", NULL, 0, MANY},
    {"StreamSwitchN", NULL, 0, MANY},
    {"StreamActive", NULL, 0, MANY},
    {"Send", NULL, 0, MANY},
    {"Recv", NULL, 0, MANY},
    {"Merge", NULL, 1, MANY},
    {"Aipp", op_aipp, 1, 2},
    {"MemcpyAsync", op_identity, 1, 1},
    {"MemcpyAddrAsync", op_identity, 1, 1},
    {"Identity", op_identity, 1, 1},
    {"Cast", op_cast, 1, 1},
    {"TransData", op_trans_data, 1, 1},
    {"Conv2D", op_conv2d, 2, 4},
    {"DepthwiseConv2D", op_depthwise, 2, 4},
    {"MaxPool", op_max_pool, 1, 1},
    {"MaxPoolV3", op_max_pool, 1, 1},
    {"AvgPool", op_avg_pool, 1, 1},
    {"AvgPoolV2", op_avg_pool, 1, 1},
    {"Pooling", op_pooling, 1, 1},
    {"GlobalAveragePool", op_global_average_pool, 1, 1},
    {"ReduceMean", op_reduce_mean, 2, 2},
    {"ReduceMeanD", op_reduce_mean, 1, 1},
    {"MatMul", op_matmul, 2, 3},
    {"MatMulV2", op_matmul, 2, 4},
    {"BatchMatMul", op_batch_matmul, 2, 2},
    {"BatchMatMulV2", op_batch_matmul, 2, 4},
    {"FullyConnection", op_fully_connection, 2, 4},
    {"Add", op_binary, 2, 2},
    {"Sub", op_binary, 2, 2},
    {"Mul", op_binary, 2, 2},
    {"RealDiv", op_binary, 2, 2},
    {"Maximum", op_binary, 2, 2},
    {"Minimum", op_binary, 2, 2},
    {"BiasAdd", op_bias_add, 2, 2},
    {"Relu", op_unary, 1, 1},
    {"Relu6", op_unary, 1, 1},
    {"LeakyRelu", op_unary, 1, 1},
    {"Sigmoid", op_unary, 1, 1},
    {"Tanh", op_unary, 1, 1},
    {"Exp", op_unary, 1, 1},
    {"Sqrt", op_unary, 1, 1},
    {"Neg", op_unary, 1, 1},
    {"Abs", op_unary, 1, 1},
    {"SoftmaxV2", op_softmax, 1, 1},
    {"NonZero", op_non_zero, 1, 1},
    {"Reshape", op_reshape, 1, 2},
    {"Flatten", op_flatten, 1, 1},
    {"FlattenV2", op_flatten, 1, 1},
    {"Transpose", op_transpose, 2, 2},
    {"TransposeD", op_transpose, 1, 1},
    {"ConcatD", op_concat, 1, MANY},
    {"ConcatV2D", op_concat, 1, MANY},
};

#define KERNEL_COUNT (sizeof KERNELS / sizeof *KERNELS)

static bool is_type(const struct op *op, const char *type) { return strcmp(op->type, type) == 0; }
static bool is_const(const struct op *op) { return is_type(op, "Const") || is_type(op, "Constant"); }

/* --- attributes for kernels ----------------------------------------------------------------------------------------------- */

struct tensor *op_error(const struct call *call, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fail(ACL_ERROR_RT_MODEL_EXECUTE, "simulator: operator '%s' (%s): %s", call->op->name, call->op->type, text);
    return NULL;
}

int64_t op_int(const struct call *call, const char *name, int64_t otherwise) {
    attr_int(call->op->raw, OP_ATTRS, name, &otherwise);
    return otherwise;
}

bool op_bool(const struct call *call, const char *name, bool otherwise) {
    attr_bool(call->op->raw, OP_ATTRS, name, &otherwise);
    return otherwise;
}

bool op_ints(const struct call *call, const char *name, int64_t *out, int count) {
    int found = attr_ints(call->op->raw, OP_ATTRS, name, out, count);
    if (found < 0)
        op_error(call, "it has no attribute '%s'; a kernel fused by the vendor's compiler keeps none", name);
    else if (found != count)
        op_error(call, "attribute '%s' has %d numbers, expected %d", name, found, count);
    return found == count;
}

int op_dtype(const struct call *call, int otherwise) {
    if (call->op->n_out_desc == 0 || !dtype_is_simulated(call->op->out_desc[0].dtype)) return otherwise;
    return call->op->out_desc[0].dtype;
}

/* --- preparing ------------------------------------------------------------------------------------------------------------ */

static aclError refuse_type(const struct op *op) {
    char known[1024] = "";
    for (size_t i = 0, used = 0; i < KERNEL_COUNT && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", KERNELS[i].type);
    return fail(ACL_ERROR_GE_LOAD_MODEL, "simulator: operator type '%s' (op '%s') is not simulated; simulated are %s", op->type, op->name,
                known);
}

/* A Const's value is a TensorDef: a descriptor that points into the weights, or the bytes themselves. */
static aclError read_constant(struct om *om, struct op *op) {
    struct view value;
    struct field desc_field = {0}, data;
    if (op->n_out_desc == 0 || !attr_message(op->raw, OP_ATTRS, "value", 12, &value) || !pb_find(value, 1, &desc_field))
        return fail(ACL_ERROR_GE_LOAD_WEIGHT_PARTITION_FAILED, "constant '%s' has no value", op->name);
    struct view bytes = om->weights;
    struct field offset = {0};
    const struct desc *desc = &op->out_desc[0];
    int64_t count = count_of(desc->ndim, desc->dims);
    if (pb_find(value, 2, &data) && data.bytes.n > 0)
        bytes = data.bytes;
    else
        pb_find(desc_field.bytes, 18, &offset);
    if (count < 0 || offset.value > bytes.n || (uint64_t)count * dtype_size(desc->dtype) > bytes.n - offset.value)
        return fail(ACL_ERROR_GE_LOAD_WEIGHT_PARTITION_FAILED,
                    "constant '%s': its bytes from %" PRIu64 " on are not within the weights of %zu bytes", op->name, offset.value,
                    bytes.n);
    op->constant = tensor_new(desc->dtype, desc->format, desc->ndim, desc->dims);
    if (op->constant == NULL) return ACL_ERROR_GE_LOAD_WEIGHT_PARTITION_FAILED;
    tensor_decode(op->constant, bytes.p + offset.value);
    return ACL_SUCCESS;
}

static bool read_by_aipp(const struct om *om, int data) {
    for (int i = data + 1; i < om->n_ops; i++)
        if (is_type(&om->ops[i], "Aipp") && om->ops[i].n_in > 0 && om->ops[i].in[0].op == data) return true;
    return false;
}

/* The settings are an attribute of the input, and of the Aipp behind it where there is one. */
static aclError read_aipp(struct om *om, int index) {
    struct op *op = &om->ops[index];
    struct view settings;
    bool own = attr_message(op->raw, OP_ATTRS, "aipp", 10, &settings);
    if (is_type(op, "Aipp") && !own && op->n_in > 0 && op->in[0].op >= 0)
        own = attr_message(om->ops[op->in[0].op].raw, OP_ATTRS, "aipp", 10, &settings);
    if (!own || (is_type(op, "Data") && read_by_aipp(om, index))) return ACL_SUCCESS;
    struct aipp *aipp = om_allocate(om, sizeof *aipp);
    if (aipp == NULL) return ACL_ERROR_BAD_ALLOC;
    aipp_read(settings, aipp);
    op->aipp = aipp;
    return ACL_SUCCESS;
}

aclError graph_prepare(struct om *om) {
    for (int i = 0; i < om->n_ops; i++) {
        struct op *op = &om->ops[i];
        for (size_t k = 0; k < KERNEL_COUNT && op->kernel == NULL; k++)
            if (is_type(op, KERNELS[k].type)) op->kernel = &KERNELS[k];
        if (op->kernel == NULL) return refuse_type(op);
        if (op->n_in < op->kernel->min_inputs || op->n_in > op->kernel->max_inputs)
            return fail(ACL_ERROR_GE_LOAD_MODEL, "simulator: operator '%s' (%s) has %d inputs", op->name, op->type, op->n_in);
        aclError error = is_const(op) ? read_constant(om, op) : read_aipp(om, i);
        if (error != ACL_SUCCESS) return error;
    }
    return ACL_SUCCESS;
}

/* --- running -------------------------------------------------------------------------------------------------------------- */

/* Which input of a Merge carries a gear: the one whose producer is labelled "Batch_<gear>", else the one at its place. */
static int merge_input(const struct om *om, const struct op *op, int gear) {
    char label[32];
    struct view found;
    snprintf(label, sizeof label, "Batch_%d", gear);
    for (int i = 0; i < op->n_in; i++)
        if (op->in[i].op >= 0 && attr_string(om->ops[op->in[i].op].raw, OP_ATTRS, "_batch_label", &found) && view_equals(found, label))
            return i;
    return gear >= 0 && gear < op->n_in ? gear : 0;
}

/* The inputs that a run reads: all of an operator's, but one branch of a Merge. */
static void inputs_used(const struct om *om, const struct op *op, int gear, int *first, int *end) {
    *first = 0, *end = op->n_in;
    if (is_type(op, "Merge")) {
        *first = merge_input(om, op, gear);
        *end = *first + 1;
    }
    if (is_type(op, "Data")) *end = 0;
}

/* How often each operator's result is read. The inputs of an operator stand before it, so that one sweep backwards does. */
static void count_uses(const struct om *om, int gear, int *uses) {
    uses[om->net_output] = 1;
    for (int i = om->net_output; i >= 0; i--) {
        int first, end;
        if (uses[i] == 0) continue;
        inputs_used(om, &om->ops[i], gear, &first, &end);
        for (int k = first; k < end; k++)
            if (om->ops[i].in[k].op >= 0) uses[om->ops[i].in[k].op]++;
    }
}

/* The shape that came out must be the file's, but for the first extent where the batch is not the file's. */
static bool check_result(const struct om *om, const struct call *call, const struct tensor *result) {
    if (call->op->n_out_desc == 0 || om->gears.kind > GEAR_BATCH) return true;
    const struct desc *desc = &call->op->out_desc[0];
    bool equal = desc->ndim == result->ndim;
    for (int i = 0; equal && i < desc->ndim; i++)
        if (desc->dims[i] >= 0 && desc->dims[i] != result->dims[i] && (i > 0 || om->gears.kind == GEAR_NONE)) equal = false;
    if (equal && (desc->dtype == result->dtype)) return true;
    char found[128], expected[128];
    shape_text(found, sizeof found, result->ndim, result->dims);
    shape_text(expected, sizeof expected, desc->ndim, desc->dims);
    op_error(call, "the result is %s %s, the file says %s %s", dtype_name(result->dtype), found, dtype_name(desc->dtype), expected);
    return false;
}

static struct tensor *run_op(const struct om *om, const struct op *op, struct tensor **values) {
    const struct tensor **in = calloc((size_t)op->n_in + 1, sizeof *in);
    struct call call = {.op = op, .in = in, .n_in = op->n_in};
    struct tensor *result = NULL;
    bool complete = in != NULL;
    for (int i = 0; complete && i < op->n_in; i++) {
        struct edge edge = op->in[i];
        if (edge.op >= 0) in[i] = om->ops[edge.op].constant != NULL ? om->ops[edge.op].constant : values[edge.op];
        if ((in[i] == NULL || edge.index != 0) && (edge.op >= 0 || i < op->kernel->min_inputs)) {
            op_error(&call, "its input %d has no value", i);
            complete = false;
        }
    }
    if (complete) result = op->kernel->run(&call);
    if (result != NULL && !check_result(om, &call, result)) {
        tensor_free(result);
        result = NULL;
    }
    free(in);
    return result;
}

/* Take one use off a value; the last one frees it. */
static void drop_use(int op, int *uses, struct tensor **values) {
    if (--uses[op] > 0) return;
    tensor_free(values[op]);
    values[op] = NULL;
}

static aclError run_all(const struct om *om, int gear, int *uses, struct tensor **values) {
    for (int i = 0; i < om->net_output; i++) {
        const struct op *op = &om->ops[i];
        int first, end;
        if (uses[i] == 0 || op->constant != NULL || is_type(op, "Data")) continue;
        inputs_used(om, op, gear, &first, &end);
        if (is_type(op, "Merge")) {
            const struct tensor *chosen = op->in[first].op >= 0 ? values[op->in[first].op] : NULL;
            values[i] = chosen == NULL ? NULL : tensor_cast(chosen, chosen->dtype);
        } else if (op->kernel->run != NULL) {
            values[i] = run_op(om, op, values);
        } else {
            fail(ACL_ERROR_RT_MODEL_EXECUTE, "simulator: operator '%s' (%s) has no result", op->name, op->type);
        }
        if (values[i] == NULL) return ACL_ERROR_RT_MODEL_EXECUTE;
        for (int k = first; k < end; k++)
            if (op->in[k].op >= 0) drop_use(op->in[k].op, uses, values);
    }
    return ACL_SUCCESS;
}

/* Copy the results, so that one value may be several outputs. */
static aclError collect(const struct om *om, struct tensor *const *values, struct tensor **outputs) {
    const struct op *net = &om->ops[om->net_output];
    for (int i = 0; i < net->n_in; i++) {
        const struct op *source = &om->ops[net->in[i].op];
        const struct tensor *value = source->constant != NULL ? source->constant : values[net->in[i].op];
        if (value == NULL || value->dtype != om->outputs[i].dtype)
            return fail(ACL_ERROR_RT_MODEL_EXECUTE, "simulator: output '%s' is %s, the file says %s", om->outputs[i].name,
                        value == NULL ? "missing" : dtype_name(value->dtype), dtype_name(om->outputs[i].dtype));
        outputs[i] = tensor_cast(value, value->dtype);
        if (outputs[i] == NULL) return ACL_ERROR_BAD_ALLOC;
    }
    return ACL_SUCCESS;
}

/* An input's first value: what the caller gave, or, where AIPP is fused into its readers, the image that these make of it. */
static struct tensor *first_value(const struct om *om, const struct io *io, const struct tensor *given) {
    const struct op *op = &om->ops[io->op];
    if (op->aipp == NULL) return tensor_cast(given, given->dtype);
    return aipp_apply(&(struct call){.op = op}, op->aipp, given, io->ndim == 4 ? io->dims[io->format == ACL_FORMAT_NCHW ? 1 : 3] : -1);
}

aclError graph_run(const struct om *om, int gear, struct tensor *const *inputs, struct tensor **outputs) {
    int *uses = calloc((size_t)om->n_ops, sizeof *uses);
    struct tensor **values = calloc((size_t)om->n_ops, sizeof *values);
    if (uses == NULL || values == NULL) {
        free(uses);
        free(values);
        return fail(ACL_ERROR_BAD_ALLOC, "out of host memory");
    }
    count_uses(om, gear, uses);
    aclError error = ACL_SUCCESS;
    for (int i = 0; i < om->n_inputs && error == ACL_SUCCESS; i++) {
        if (inputs[i] == NULL) continue;
        values[om->inputs[i].op] = first_value(om, &om->inputs[i], inputs[i]);
        if (values[om->inputs[i].op] == NULL) error = ACL_ERROR_RT_MODEL_EXECUTE;
    }
    if (error == ACL_SUCCESS) error = run_all(om, gear, uses, values);
    if (error == ACL_SUCCESS) error = collect(om, values, outputs);
    for (int i = 0; i < om->n_ops; i++) tensor_free(values[i]);
    free(uses);
    free(values);
    return error;
}
