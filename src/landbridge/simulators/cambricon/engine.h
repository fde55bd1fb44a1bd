/* The graph of a function, executed by the operators of the Ascend simulator. */
#ifndef LANDBRIDGE_CAMBRICON_ENGINE_H
#define LANDBRIDGE_CAMBRICON_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;

/* One input or output: the bytes are the caller's. */
struct engine_tensor {
    int ndim;
    int64_t dims[8];
    unsigned char *bytes; /* of an output: NULL when only the shape is asked for */
    size_t room;          /* of an output */
};

/* NULL when the graph cannot be executed; engine_message() says why. */
struct engine *engine_open(const void *om, size_t size, bool any_extent);
void engine_close(struct engine *engine);
int engine_inputs(const struct engine *engine);
int engine_outputs(const struct engine *engine);
/* Run the graph; fills in the outputs' shapes, and their bytes where there is room for them. */
bool engine_run(const struct engine *engine, const struct engine_tensor *inputs, struct engine_tensor *outputs);
const char *engine_message(void); /* of this thread's last failure */

#endif
