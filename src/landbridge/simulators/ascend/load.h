/* The one way in which every load function loads. */
#ifndef LANDBRIDGE_ASCEND_LOAD_H
#define LANDBRIDGE_ASCEND_LOAD_H

#include "acl.h"

struct given_memory { /* device memory from the caller; no address: the model takes its own */
    void *address;
    size_t size;
};

aclError model_load(const void *bytes, size_t size, const struct given_memory *work, const struct given_memory *weight, uint32_t *id);
aclError model_load_file(const char *path, const struct given_memory *work, const struct given_memory *weight, uint32_t *id);
aclError read_file(const char *path, unsigned char **bytes, size_t *size); /* malloc'ed */

#endif
