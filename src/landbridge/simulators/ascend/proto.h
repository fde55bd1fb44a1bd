/* A reader of protobuf bytes in place: nothing is copied, every length is checked. */
#ifndef LANDBRIDGE_ASCEND_PROTO_H
#define LANDBRIDGE_ASCEND_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct view {
    const unsigned char *p;
    size_t n;
};

struct field {
    uint32_t number, wire;
    uint64_t value;    /* wire types 0, 1 and 5 */
    struct view bytes; /* wire type 2 */
};

/* Take the next field off `in`: 1 for one, 0 at the end, -1 when the bytes are damaged. */
int pb_next(struct view *in, struct field *out);
/* Whether the whole of `in` is well-formed, one level deep. */
bool pb_valid(struct view in);
/* The last field of that number; false when there is none. */
bool pb_find(struct view in, uint32_t number, struct field *out);
/* A repeated integer field, packed or not; returns how many there are, and stores at most `room`. */
int pb_ints(struct view in, uint32_t number, int64_t *out, int room);

bool view_equals(struct view v, const char *text);

/* ge.proto.AttrDef, in the map that is field `map` of `owner`: 10 in an OpDef, 11 in a ModelDef, 5 in a TensorDescriptor,
 * 2 in a NamedAttrs. Each returns false when the attribute is missing or of another kind. */
enum { OP_ATTRS = 10, MODEL_ATTRS = 11, DESC_ATTRS = 5, NAMED_ATTRS = 2 };
bool attr_find(struct view owner, uint32_t map, const char *name, struct view *attr);
bool attr_int(struct view owner, uint32_t map, const char *name, int64_t *out);
bool attr_bool(struct view owner, uint32_t map, const char *name, bool *out);
bool attr_float(struct view owner, uint32_t map, const char *name, float *out);
bool attr_string(struct view owner, uint32_t map, const char *name, struct view *out);
int attr_ints(struct view owner, uint32_t map, const char *name, int64_t *out, int room);            /* -1 when missing; else as pb_ints */
bool attr_string_at(struct view owner, uint32_t map, const char *name, int index, struct view *out); /* of a list */
bool attr_float_at(struct view owner, uint32_t map, const char *name, int index, float *out);        /* of a list */
bool attr_message(struct view owner, uint32_t map, const char *name, uint32_t kind, struct view *out); /* 12 tensor, 10 func */

#endif
