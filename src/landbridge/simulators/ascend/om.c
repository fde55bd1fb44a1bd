/* The container of an offline model and the graph in its MODEL_DEF partition. */
#include "om.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define HEADER 256
#define MAX_PARTITIONS 64
enum { PARTITION_MODEL_DEF = 0, PARTITION_WEIGHTS = 1 };
enum { MODEL_GRAPH = 7, GRAPH_OP = 6 };
enum { OP_NAME = 1, OP_TYPE = 2, OP_INPUT = 5, OP_INPUT_DESC = 33, OP_OUTPUT_DESC = 34 };
enum { DESC_DTYPE = 2, DESC_SHAPE = 3, DESC_LAYOUT = 4, DESC_SIZE = 10, DESC_OFFSET = 18 };

struct chunk {
    struct chunk *next;
    max_align_t data[];
};

void *om_allocate(struct om *om, size_t size) {
    struct chunk *chunk = calloc(1, sizeof *chunk + size);
    if (chunk == NULL) {
        fail(ACL_ERROR_BAD_ALLOC, "out of host memory");
        return NULL;
    }
    chunk->next = om->chunks;
    om->chunks = chunk;
    return chunk->data;
}

const char *om_string(struct om *om, struct view text) {
    char *copy = om_allocate(om, text.n + 1);
    if (copy != NULL && text.n > 0) memcpy(copy, text.p, text.n);
    return copy;
}

void om_close(struct om *om) {
    for (int i = 0; om->ops != NULL && i < om->n_ops; i++) tensor_free(om->ops[i].constant);
    while (om->chunks != NULL) {
        struct chunk *chunk = om->chunks;
        om->chunks = chunk->next;
        free(chunk);
    }
    free(om->bytes);
    memset(om, 0, sizeof *om);
}

/* --- container ------------------------------------------------------------------------------------------------------------ */

static uint64_t little_endian(const unsigned char *p, int size) {
    uint64_t value = 0;
    for (int i = size - 1; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

static aclError check_header(const unsigned char *p, size_t size) {
    if (size >= 4 && memcmp(p, "PK\3\4", 4) == 0)
        return fail(ACL_ERROR_GE_LOAD_MODEL, "an OM2 file (a zip archive) is not supported by this version");
    if (size < HEADER + 4)
        return fail(ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID, "the model data has %zu bytes, its header alone takes %d", size, HEADER + 4);
    if (memcmp(p, "IMOD", 4) != 0) return fail(ACL_ERROR_GE_LOAD_MODEL, "the model data does not start with the magic of an offline model");
    if (p[80] != 0) return fail(ACL_ERROR_GE_LOAD_MODEL, "the model is encrypted");
    if (p[82] > 1) return fail(ACL_ERROR_GE_LOAD_MODEL, "model type %d is not supported; an ordinary model has 0 or 1", p[82]);
    uint64_t length = little_endian(p + 184, 8);
    if (length == 0) length = little_endian(p + 76, 4);
    if (length > size - HEADER)
        return fail(ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID, "the model data has %zu bytes, its header tells of %" PRIu64, size,
                    length + HEADER);
    if (little_endian(p + 8, 4) >= 0x20000000 && little_endian(p + 156, 4) > 1)
        return fail(ACL_ERROR_GE_LOAD_MODEL, "%" PRIu64 " models in one file are not supported", little_endian(p + 156, 4));
    return ACL_SUCCESS;
}

/* Find the partitions in the caller's bytes. */
static aclError read_partitions(const unsigned char *p, size_t file_size, struct view *model_def, struct view *weights) {
    bool wide = little_endian(p + 184, 8) != 0;
    uint64_t number = little_endian(p + HEADER, 4);
    size_t row = wide ? 24 : 12, table = HEADER + (wide ? 8 : 4), end = table + number * row;
    if (number == 0 || number > MAX_PARTITIONS || end > file_size)
        return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "the partition table of %" PRIu64 " entries does not fit in the model data",
                    number);
    for (uint64_t i = 0; i < number; i++) {
        const unsigned char *entry = p + table + i * row;
        uint64_t type = little_endian(entry, 4);
        uint64_t offset = wide ? little_endian(entry + 8, 8) : little_endian(entry + 4, 4);
        uint64_t size = wide ? little_endian(entry + 16, 8) : little_endian(entry + 8, 4);
        if (offset > file_size - end || size > file_size - end - offset)
            return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "partition %" PRIu64 " does not fit in the model data of %zu bytes", type,
                        file_size);
        struct view view = {p + end + offset, (size_t)size};
        if (type == PARTITION_MODEL_DEF) *model_def = view;
        if (type == PARTITION_WEIGHTS) *weights = view;
    }
    if (model_def->n == 0) return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "the model data has no graph (partition 0)");
    return ACL_SUCCESS;
}

/* --- graph ---------------------------------------------------------------------------------------------------------------- */

/* From ge.proto.DataType, which descriptors use, to ge::DataType, which ACL uses. */
static int dtype_from_proto(uint64_t proto) {
    static const int TABLE[] = {ACL_DT_UNDEFINED, ACL_FLOAT, ACL_FLOAT16, ACL_INT8,   ACL_UINT8, ACL_INT16, ACL_UINT16,
                                ACL_INT32,        ACL_INT64, ACL_UINT32,  ACL_UINT64, ACL_BOOL,  ACL_DOUBLE};
    if (proto == 27) return ACL_BF16;
    return proto < sizeof TABLE / sizeof *TABLE ? TABLE[proto] : ACL_DT_UNDEFINED;
}

static bool read_desc(struct view raw, struct desc *desc) {
    struct field field;
    if (!pb_valid(raw)) return false;
    *desc = (struct desc){.dtype = ACL_DT_UNDEFINED, .format = ACL_FORMAT_UNDEFINED, .raw = raw};
    if (pb_find(raw, DESC_DTYPE, &field)) desc->dtype = dtype_from_proto(field.value);
    if (pb_find(raw, DESC_LAYOUT, &field)) desc->format = format_parse((const char *)field.bytes.p, field.bytes.n);
    if (pb_find(raw, DESC_SIZE, &field)) desc->size = (int64_t)field.value;
    if (pb_find(raw, DESC_OFFSET, &field)) desc->offset = (int64_t)field.value;
    if (pb_find(raw, DESC_SHAPE, &field)) desc->ndim = pb_ints(field.bytes, 1, desc->dims, RANK);
    return desc->ndim <= RANK;
}

static int count_fields(struct view in, uint32_t number) {
    struct field field;
    int count = 0;
    while (pb_next(&in, &field) > 0) count += field.number == number;
    return count;
}

/* Find the source of an edge "name:index"; sources mostly stand right before. */
static bool resolve(const struct om *om, int op, struct view text, struct edge *edge) {
    size_t colon = text.n;
    while (colon > 0 && text.p[colon - 1] != ':') colon--;
    if (colon == 0) return false;
    edge->index = 0;
    for (size_t i = colon; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || edge->index > 9999) return false;
        edge->index = edge->index * 10 + text.p[i] - '0';
    }
    for (edge->op = op - 1; edge->op >= 0; edge->op--)
        if (view_equals((struct view){text.p, colon - 1}, om->ops[edge->op].name)) return true;
    return false;
}

static bool is_control(struct view text) { return text.n >= 3 && memcmp(text.p + text.n - 3, ":-1", 3) == 0; }

static aclError read_op(struct om *om, int index, struct view raw) {
    struct op *op = &om->ops[index];
    struct field field;
    op->raw = raw;
    if (!pb_valid(raw)) return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "the graph is damaged at operator %d", index);
    op->name = om_string(om, pb_find(raw, OP_NAME, &field) ? field.bytes : (struct view){NULL, 0});
    op->type = om_string(om, pb_find(raw, OP_TYPE, &field) ? field.bytes : (struct view){NULL, 0});
    op->in = om_allocate(om, (size_t)count_fields(raw, OP_INPUT) * sizeof *op->in);
    op->in_desc = om_allocate(om, (size_t)count_fields(raw, OP_INPUT_DESC) * sizeof *op->in_desc);
    op->out_desc = om_allocate(om, (size_t)count_fields(raw, OP_OUTPUT_DESC) * sizeof *op->out_desc);
    if (op->name == NULL || op->type == NULL || op->in == NULL || op->in_desc == NULL || op->out_desc == NULL) return ACL_ERROR_BAD_ALLOC;
    while (pb_next(&raw, &field) > 0) {
        struct edge edge = {-1, 0};
        if (field.number == OP_INPUT && !is_control(field.bytes)) {
            if (field.bytes.n > 0 && !resolve(om, index, field.bytes, &edge))
                return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "operator '%s': no operator before it gives its input '%.*s'",
                            op->name, (int)field.bytes.n, (const char *)field.bytes.p);
            op->in[op->n_in++] = edge;
        }
        bool good = true;
        if (field.number == OP_INPUT_DESC) good = read_desc(field.bytes, &op->in_desc[op->n_in_desc++]);
        if (field.number == OP_OUTPUT_DESC) good = read_desc(field.bytes, &op->out_desc[op->n_out_desc++]);
        if (!good) return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "operator '%s': a tensor descriptor is damaged", op->name);
    }
    return ACL_SUCCESS;
}

static aclError read_graph(struct om *om) {
    struct view in = om->model_def, graph = {NULL, 0};
    struct field field;
    while (pb_next(&in, &field) > 0)
        if (field.number == MODEL_GRAPH && graph.p == NULL) graph = field.bytes; /* the ones after it are subgraphs */
    if (!pb_valid(om->model_def) || !pb_valid(graph)) return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "the graph is damaged");
    om->ops = om_allocate(om, (size_t)count_fields(graph, GRAPH_OP) * sizeof *om->ops);
    if (om->ops == NULL) return ACL_ERROR_BAD_ALLOC;
    om->net_output = -1;
    while (pb_next(&graph, &field) > 0) {
        if (field.number != GRAPH_OP) continue;
        aclError error = read_op(om, om->n_ops, field.bytes);
        if (error != ACL_SUCCESS) return error;
        if (strcmp(om->ops[om->n_ops].type, "NetOutput") == 0) om->net_output = om->n_ops;
        om->n_ops++;
    }
    if (om->net_output < 0) return fail(ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED, "the graph has no NetOutput");
    return ACL_SUCCESS;
}

/* A device runs only what was compiled for its chip. */
static aclError check_chip(const struct om *om) {
    struct view chip;
    bool named = attr_string(om->model_def, MODEL_ATTRS, "soc_version", &chip) && chip.n > 0;
    if (named && !view_equals(chip, sim_soc()))
        return fail(ACL_ERROR_RT_SOC_VERSION, "the model was compiled for %.*s, this device is %s", (int)chip.n, (const char *)chip.p,
                    sim_soc());
    bool mini = !named && attr_string(om->model_def, MODEL_ATTRS, "target_type", &chip) && view_equals(chip, "MINI");
    if (mini && strcmp(sim_soc(), "Ascend310") != 0)
        return fail(ACL_ERROR_RT_SOC_VERSION, "the model was compiled for MINI (Ascend310), this device is %s", sim_soc());
    return ACL_SUCCESS;
}

aclError om_build(struct om *om, struct view model_def, struct view weights) {
    memset(om, 0, sizeof *om);
    size_t kept = weights.p == NULL ? 0 : weights.n;
    om->bytes = malloc(model_def.n + kept + 1);
    if (om->bytes == NULL) return fail(ACL_ERROR_BAD_ALLOC, "out of host memory");
    memcpy(om->bytes, model_def.p, model_def.n);
    if (kept > 0) memcpy(om->bytes + model_def.n, weights.p, kept);
    om->model_def = (struct view){om->bytes, model_def.n};
    om->weights = (struct view){weights.p == NULL ? NULL : om->bytes + model_def.n, weights.n};
    aclError error = read_graph(om);
    if (error == ACL_SUCCESS) error = check_chip(om);
    if (error == ACL_SUCCESS) error = interface_read(om);
    int64_t work = 0;
    if (error == ACL_SUCCESS && attr_int(om->model_def, MODEL_ATTRS, "memory_size", &work) && work > 0) om->work_size = (size_t)work;
    if (error != ACL_SUCCESS) om_close(om);
    return error;
}

aclError om_open(struct om *om, const void *bytes, size_t size, bool with_weights) {
    memset(om, 0, sizeof *om);
    if (bytes == NULL || size == 0) return fail(ACL_ERROR_INVALID_PARAM, "%s", bytes == NULL ? "model is NULL" : "modelSize is 0");
    if (memory_is_device(bytes))
        return fail(ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID, "model %p is device memory; when the run mode is ACL_HOST it must be host memory",
                    bytes);
    struct view model_def = {NULL, 0}, weights = {NULL, 0};
    aclError error = check_header(bytes, size);
    if (error == ACL_SUCCESS) error = read_partitions(bytes, size, &model_def, &weights);
    if (!with_weights) weights.p = NULL;
    return error == ACL_SUCCESS ? om_build(om, model_def, weights) : error;
}
