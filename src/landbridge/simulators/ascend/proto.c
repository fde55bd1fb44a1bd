#include "proto.h"

#include <string.h>

enum { ATTR_LIST = 1, ATTR_STRING = 2, ATTR_INT = 3, ATTR_FLOAT = 4, ATTR_BOOL = 5 };
enum { LIST_STRING = 2, LIST_INT = 3, LIST_FLOAT = 4 };

static bool take_varint(struct view *in, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (in->n == 0) return false;
        unsigned char byte = *in->p;
        in->p++, in->n--;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

static bool take_bytes(struct view *in, uint64_t size, struct view *out) {
    if (size > in->n) return false;
    *out = (struct view){in->p, (size_t)size};
    in->p += size, in->n -= size;
    return true;
}

int pb_next(struct view *in, struct field *out) {
    uint64_t tag;
    if (in->n == 0) return 0;
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF) return -1;
    *out = (struct field){.number = (uint32_t)(tag >> 3), .wire = tag & 7};
    switch (out->wire) {
        case 0: return take_varint(in, &out->value) ? 1 : -1;
        case 2: return take_varint(in, &out->value) && take_bytes(in, out->value, &out->bytes) ? 1 : -1;
        case 1:
        case 5:
            if (!take_bytes(in, out->wire == 1 ? 8 : 4, &out->bytes)) return -1;
            memcpy(&out->value, out->bytes.p, out->bytes.n);
            return 1;
        default: return -1;
    }
}

bool pb_valid(struct view in) {
    struct field field;
    int status;
    while ((status = pb_next(&in, &field)) > 0) {
    }
    return status == 0;
}

bool pb_find(struct view in, uint32_t number, struct field *out) {
    struct field field;
    bool found = false;
    while (pb_next(&in, &field) > 0)
        if (field.number == number) *out = field, found = true;
    return found;
}

int pb_ints(struct view in, uint32_t number, int64_t *out, int room) {
    struct field field;
    int count = 0;
    while (pb_next(&in, &field) > 0) {
        if (field.number != number) continue;
        if (field.wire == 0) {
            if (count < room) out[count] = (int64_t)field.value;
            count++;
        }
        uint64_t value;
        while (field.wire == 2 && field.bytes.n > 0 && take_varint(&field.bytes, &value)) {
            if (count < room) out[count] = (int64_t)value;
            count++;
        }
    }
    return count;
}

bool view_equals(struct view v, const char *text) { return v.n == strlen(text) && memcmp(v.p, text, v.n) == 0; }

bool attr_find(struct view owner, uint32_t map, const char *name, struct view *attr) {
    struct field entry, key, value;
    while (pb_next(&owner, &entry) > 0) {
        if (entry.number != map || entry.wire != 2 || !pb_find(entry.bytes, 1, &key) || !view_equals(key.bytes, name)) continue;
        *attr = (struct view){NULL, 0};
        if (pb_find(entry.bytes, 2, &value)) *attr = value.bytes;
        return true;
    }
    return false;
}

/* The value of the attribute, when it is of that kind. */
static bool attr_field(struct view owner, uint32_t map, const char *name, uint32_t kind, struct field *out) {
    struct view attr;
    return attr_find(owner, map, name, &attr) && pb_find(attr, kind, out);
}

bool attr_int(struct view owner, uint32_t map, const char *name, int64_t *out) {
    struct field field;
    if (!attr_field(owner, map, name, ATTR_INT, &field)) return false;
    *out = (int64_t)field.value;
    return true;
}

bool attr_bool(struct view owner, uint32_t map, const char *name, bool *out) {
    struct field field;
    if (!attr_field(owner, map, name, ATTR_BOOL, &field)) return false;
    *out = field.value != 0;
    return true;
}

static float float_field(uint64_t value) {
    uint32_t bits = (uint32_t)value;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

bool attr_float(struct view owner, uint32_t map, const char *name, float *out) {
    struct field field;
    if (!attr_field(owner, map, name, ATTR_FLOAT, &field)) return false;
    *out = float_field(field.value);
    return true;
}

bool attr_string(struct view owner, uint32_t map, const char *name, struct view *out) {
    struct field field;
    if (!attr_field(owner, map, name, ATTR_STRING, &field)) return false;
    *out = field.bytes;
    return true;
}

int attr_ints(struct view owner, uint32_t map, const char *name, int64_t *out, int room) {
    struct field list;
    return attr_field(owner, map, name, ATTR_LIST, &list) ? pb_ints(list.bytes, LIST_INT, out, room) : -1;
}

bool attr_string_at(struct view owner, uint32_t map, const char *name, int index, struct view *out) {
    struct field list, item;
    if (!attr_field(owner, map, name, ATTR_LIST, &list)) return false;
    while (pb_next(&list.bytes, &item) > 0) {
        if (item.number != LIST_STRING || index-- > 0) continue;
        *out = item.bytes;
        return true;
    }
    return false;
}

bool attr_float_at(struct view owner, uint32_t map, const char *name, int index, float *out) {
    struct field list, item;
    if (!attr_field(owner, map, name, ATTR_LIST, &list)) return false;
    while (pb_next(&list.bytes, &item) > 0) {
        if (item.number != LIST_FLOAT) continue;
        int items = item.wire == 2 ? (int)(item.bytes.n / 4) : 1;
        if (index < items) {
            uint64_t value = item.value;
            if (item.wire == 2) memcpy(&value, item.bytes.p + 4 * index, 4);
            *out = float_field(value);
            return true;
        }
        index -= items;
    }
    return false;
}

bool attr_message(struct view owner, uint32_t map, const char *name, uint32_t kind, struct view *out) {
    struct field field;
    if (!attr_field(owner, map, name, kind, &field)) return false;
    *out = field.bytes;
    return true;
}
