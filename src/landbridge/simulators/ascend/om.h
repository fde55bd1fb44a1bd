/* An offline model as its file has it: container, graph, and the interface that the runtime derives from the graph. */
#ifndef LANDBRIDGE_ASCEND_OM_H
#define LANDBRIDGE_ASCEND_OM_H

#include "acl.h"
#include "proto.h"
#include "tensor.h"

#define GEARS 100
#define GEAR_WIDTH 16

struct desc { /* a TensorDescriptor */
    int dtype, format;
    int ndim;
    int64_t dims[RANK];
    int64_t size, offset;
    struct view raw;
};

struct edge {
    int op; /* -1: an optional input that is not connected */
    int index;
};

struct aipp;
struct kernel;

struct op {
    const char *name, *type;
    struct edge *in; /* data edges only */
    struct desc *in_desc, *out_desc;
    int n_in, n_in_desc, n_out_desc;
    struct view raw;
    const struct kernel *kernel; /* set by graph_prepare */
    const struct aipp *aipp; /* of an Aipp, or of a Data whose image every operator preprocesses for itself */
    struct tensor *constant;
};

struct io { /* one input or output of the model */
    const char *name;
    int dtype, format, op;
    int ndim, ndim_v2;
    int64_t dims[RANK], dims_v2[RANK]; /* of an input: -1 where the gear decides; of an output: of the largest gear */
    size_t size;                       /* of the largest gear */
    bool raw;                          /* an image before AIPP: what the caller gives has dims_v2 */
};

enum gear_kind { GEAR_NONE, GEAR_BATCH, GEAR_HW, GEAR_DIMS };

struct gears {
    enum gear_kind kind;
    int count, width; /* `width` values make a gear */
    int64_t values[GEARS][GEAR_WIDTH];
};

struct om {
    unsigned char *bytes;           /* its own copy of the two partitions */
    struct view model_def, weights; /* the weights may be left out; then they have a size but no bytes */
    struct op *ops;                 /* in an order in which inputs come first */
    int n_ops, net_output;
    struct io *inputs, *outputs;
    int n_inputs, n_outputs, hidden; /* `hidden`: the input that tells the gear, or -1 */
    struct gears gears;
    size_t work_size;
    struct chunk *chunks;
};

/* Read a file; on an error everything is freed and the text stored. */
aclError om_open(struct om *om, const void *bytes, size_t size, bool with_weights);
/* The same from partitions that were read before. */
aclError om_build(struct om *om, struct view model_def, struct view weights);
void om_close(struct om *om);

/* --- interface.c */
aclError interface_read(struct om *om);
/* The shape of an input or output under a gear (-1: none chosen, which is the largest for an output). Of an input it is that of
 * what the caller gives; returns its rank. */
int interface_input_dims(const struct om *om, int input, int gear, int64_t *dims);
void interface_output_dims(const struct om *om, int output, int gear, int64_t *dims, int *ndim);
int gears_find(const struct gears *gears, const int64_t *values); /* -1 when it is not a gear */
void gears_text(const struct gears *gears, char *text, size_t room);

/* --- graph.c */
/* Bind every operator to its kernel and decode the constants; fails at the first type that is not simulated. */
aclError graph_prepare(struct om *om);
/* Run the graph on tensors for the model's inputs (NULL at the hidden one); stores new tensors. */
aclError graph_run(const struct om *om, int gear, struct tensor *const *inputs, struct tensor **outputs);

void *om_allocate(struct om *om, size_t size); /* zeroed, lives as long as the model; NULL after fail() */
const char *om_string(struct om *om, struct view text);

#endif
