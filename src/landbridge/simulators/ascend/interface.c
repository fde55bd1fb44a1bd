/* What the caller sees of a model: inputs, outputs and gears, derived from the graph as the vendor's runtime does. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "om.h"
#include "sim.h"

static bool is_input(const struct op *op) {
    return strcmp(op->type, "Data") == 0 || strcmp(op->type, "AippData") == 0 || strcmp(op->type, "AnnData") == 0;
}

static int64_t position_of(const struct om *om, int op) {
    int64_t index = op;
    attr_int(om->ops[op].raw, OP_ATTRS, "index", &index);
    return index;
}

/* A shape in an attribute, in place of the descriptor's. */
static void read_dims(const struct op *op, const char *name, int *ndim, int64_t *dims) {
    int64_t found[RANK];
    int count = attr_ints(op->raw, OP_ATTRS, name, found, RANK);
    if (count < 0 || count > RANK) return;
    *ndim = count;
    memcpy(dims, found, sizeof found);
}

static size_t bytes_of(int dtype, int ndim, const int64_t *dims) {
    int64_t count = count_of(ndim, dims);
    return count < 0 ? 0 : (size_t)count * dtype_size(dtype);
}

static aclError read_input(struct om *om, int op_index, struct io *io) {
    const struct op *op = &om->ops[op_index];
    const struct desc *desc = op->n_in_desc > 0 ? &op->in_desc[0] : op->n_out_desc > 0 ? &op->out_desc[0] : NULL;
    if (desc == NULL) return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "input '%s' has no descriptor", op->name);
    *io = (struct io){.name = op->name, .dtype = desc->dtype, .format = desc->format, .op = op_index, .ndim = desc->ndim};
    memcpy(io->dims, desc->dims, sizeof io->dims);
    read_dims(op, "_mbatch_origin_input_dims", &io->ndim, io->dims);
    read_dims(op, "_dynamic_aipp_input_dims", &io->ndim, io->dims);
    io->ndim_v2 = io->ndim;
    memcpy(io->dims_v2, io->dims, sizeof io->dims);
    read_dims(op, "input_dims", &io->ndim_v2, io->dims_v2);
    struct view settings;
    io->raw = attr_message(op->raw, OP_ATTRS, "aipp", 10, &settings);
    io->size = desc->size > 0 ? (size_t)desc->size : bytes_of(desc->dtype, desc->ndim, desc->dims);
    return ACL_SUCCESS;
}

static aclError read_inputs(struct om *om) {
    for (int i = 0; i < om->n_ops; i++) om->n_inputs += is_input(&om->ops[i]);
    om->inputs = om_allocate(om, (size_t)om->n_inputs * sizeof *om->inputs);
    int *order = om_allocate(om, (size_t)om->n_inputs * sizeof *order);
    if (om->inputs == NULL || order == NULL) return ACL_ERROR_BAD_ALLOC;
    int count = 0;
    for (int i = 0; i < om->n_ops; i++) {
        if (!is_input(&om->ops[i])) continue;
        int at = count++;
        for (; at > 0 && position_of(om, order[at - 1]) > position_of(om, i); at--) order[at] = order[at - 1];
        order[at] = i;
    }
    om->hidden = -1;
    for (int i = 0; i < count; i++) {
        aclError error = read_input(om, order[i], &om->inputs[i]);
        if (error != ACL_SUCCESS) return error;
        if (strcmp(om->inputs[i].name, ACL_DYNAMIC_TENSOR_NAME) == 0) om->hidden = i;
    }
    return ACL_SUCCESS;
}

/* --- outputs -------------------------------------------------------------------------------------------------------------- */

static const char *output_name(struct om *om, int index, struct edge source) {
    const char *producer = om->ops[source.op].name;
    struct view name, beyond;
    int outputs = om->ops[om->net_output].n_in;
    bool listed = attr_string_at(om->model_def, MODEL_ATTRS, "attr_model_out_nodes_name", index, &name) &&
                  attr_string_at(om->model_def, MODEL_ATTRS, "attr_model_out_nodes_name", outputs - 1, &beyond) &&
                  !attr_string_at(om->model_def, MODEL_ATTRS, "attr_model_out_nodes_name", outputs, &beyond);
    size_t room = (listed ? name.n : strlen(producer)) + 48;
    char *text = om_allocate(om, room);
    if (text == NULL) return NULL;
    if (!listed)
        snprintf(text, room, "output_%d_%s_%d", index, producer, source.index);
    else if (memchr(name.p, ':', name.n) == NULL)
        snprintf(text, room, "%.*s:%d", (int)name.n, (const char *)name.p, source.index);
    else
        snprintf(text, room, "%.*s", (int)name.n, (const char *)name.p);
    return text;
}

static aclError read_outputs(struct om *om) {
    const struct op *net = &om->ops[om->net_output];
    om->n_outputs = net->n_in;
    om->outputs = om_allocate(om, (size_t)net->n_in * sizeof *om->outputs);
    if (om->outputs == NULL) return ACL_ERROR_BAD_ALLOC;
    for (int i = 0; i < net->n_in; i++) {
        if (net->in[i].op < 0 || i >= net->n_in_desc)
            return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "output %d has no %s", i, net->in[i].op < 0 ? "producer" : "descriptor");
        const struct desc *desc = &net->in_desc[i];
        struct io *io = &om->outputs[i];
        *io = (struct io){.dtype = desc->dtype, .format = desc->format, .op = om->net_output, .ndim = desc->ndim};
        memcpy(io->dims, desc->dims, sizeof io->dims);
        bool open = false; /* an extent that only the data tells: then the file says how many bytes there are at most */
        for (int d = 0; d < io->ndim; d++) open = open || io->dims[d] < 0;
        io->size = open ? (desc->size > 0 ? (size_t)desc->size : 0) : bytes_of(io->dtype, io->ndim, io->dims);
        io->name = output_name(om, i, net->in[i]);
        if (io->name == NULL) return ACL_ERROR_BAD_ALLOC;
    }
    return ACL_SUCCESS;
}

/* --- gears ---------------------------------------------------------------------------------------------------------------- */

static const struct op *switch_op(const struct om *om) {
    int64_t value;
    for (int i = 0; i < om->n_ops; i++) {
        const struct op *op = &om->ops[i];
        bool switches = strcmp(op->type, "StreamSwitchN") == 0 || strcmp(op->type, "Case") == 0;
        if (switches && attr_ints(op->raw, OP_ATTRS, "_pred_value_0", &value, 1) > 0) return op;
    }
    return NULL;
}

static aclError read_gears(struct om *om) {
    struct gears *gears = &om->gears;
    const struct op *op = switch_op(om);
    if ((op == NULL) != (om->hidden < 0))
        return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "the graph has %s",
                    op == NULL ? "an input for gears but no gears" : "gears but no input to choose one");
    if (op == NULL) return ACL_SUCCESS;
    for (gears->count = 0; gears->count < GEARS; gears->count++) {
        char name[32];
        snprintf(name, sizeof name, "_pred_value_%d", gears->count);
        int width = attr_ints(op->raw, OP_ATTRS, name, gears->values[gears->count], GEAR_WIDTH);
        if (width < 0) break;
        if (width == 0 || width > GEAR_WIDTH || (gears->count > 0 && width != gears->width))
            return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "gear %d of operator '%s' has %d values", gears->count, op->name, width);
        gears->width = width;
    }
    int64_t kind = gears->width < GEAR_DIMS ? gears->width : GEAR_DIMS;
    if (!attr_int(op->raw, OP_ATTRS, "_dynamic_type", &kind)) attr_int(op->raw, OP_ATTRS, "mbatch_dynamic_type", &kind);
    gears->kind = kind == GEAR_BATCH || kind == GEAR_HW ? (enum gear_kind)kind : GEAR_DIMS;
    return ACL_SUCCESS;
}

int gears_find(const struct gears *gears, const int64_t *values) {
    for (int i = 0; i < gears->count; i++)
        if (memcmp(gears->values[i], values, (size_t)gears->width * sizeof *values) == 0) return i;
    return -1;
}

void gears_text(const struct gears *gears, char *text, size_t room) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < gears->count && used < room; i++)
        for (int k = 0; k < gears->width && used < room; k++)
            used += (size_t)snprintf(text + used, room - used, "%s%" PRId64, k > 0 ? "x" : i > 0 ? ", " : "", gears->values[i][k]);
}

/* --- shapes under a gear ----------------------------------------------------------------------------------------------------- */

int interface_input_dims(const struct om *om, int input, int gear, int64_t *dims) {
    const struct gears *gears = &om->gears;
    int next = 0; /* the value for the next -1; all -1 of a batch gear are the batch, H and W begin anew at every input */
    for (int i = 0; i <= input; i++) {
        const struct io *io = &om->inputs[i];
        const int64_t *own = io->raw ? io->dims_v2 : io->dims;
        if (gears->kind != GEAR_DIMS) next = 0;
        for (int d = 0; d < (io->raw ? io->ndim_v2 : io->ndim); d++) {
            int64_t value = own[d];
            if (value < 0 && gear >= 0 && next < gears->width) value = gears->values[gear][next];
            if (own[d] < 0 && gears->kind != GEAR_BATCH) next++;
            if (i == input) dims[d] = value;
        }
    }
    return om->inputs[input].raw ? om->inputs[input].ndim_v2 : om->inputs[input].ndim;
}

/* One entry "gear,output,d0,d1,..." of NetOutput's attribute; false when it is for another gear or output. */
static bool parse_output_dims(struct view text, int gear, int output, int64_t *dims, int *ndim) {
    char copy[256];
    int64_t numbers[RANK + 2];
    int count = 0;
    if (text.n >= sizeof copy) return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    for (char *rest = copy; *rest != '\0' && count < RANK + 2; count++) {
        numbers[count] = strtoll(rest, &rest, 10);
        if (*rest == ',')
            rest++;
        else if (*rest != '\0')
            return false;
    }
    if (count < 2 || numbers[0] != gear || numbers[1] != output) return false;
    *ndim = count - 2;
    memcpy(dims, numbers + 2, (size_t)*ndim * sizeof *dims);
    return true;
}

void interface_output_dims(const struct om *om, int output, int gear, int64_t *dims, int *ndim) {
    const struct io *io = &om->outputs[output];
    *ndim = io->ndim;
    memcpy(dims, io->dims, sizeof io->dims);
    if (gear < 0) return;
    struct view text;
    for (int i = 0; attr_string_at(om->ops[om->net_output].raw, OP_ATTRS, "_dynamic_output_dims", i, &text); i++)
        if (parse_output_dims(text, gear, output, dims, ndim)) return;
    if (om->gears.kind != GEAR_BATCH || io->ndim == 0) return;
    int64_t largest = 0;
    for (int i = 0; i < om->gears.count; i++)
        if (om->gears.values[i][0] > largest) largest = om->gears.values[i][0];
    if (largest > 0) dims[0] = io->dims[0] * om->gears.values[gear][0] / largest;
}

aclError interface_read(struct om *om) {
    aclError error = read_inputs(om);
    if (error == ACL_SUCCESS) error = read_outputs(om);
    return error == ACL_SUCCESS ? read_gears(om) : error;
}
