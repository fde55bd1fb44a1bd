/* A loaded model, and what its files share. */
#ifndef LANDBRIDGE_ASCEND_MODEL_H
#define LANDBRIDGE_ASCEND_MODEL_H

#include "om.h"
#include "sim.h"

struct model {
    uint32_t id;
    uint64_t context; /* where it was loaded, and where alone it runs */
    int device;
    size_t charged; /* device memory of its own */
    int gear;       /* set last, for aclmdlGetCurOutputDims; -1 when none */
    bool busy;      /* executing, outside the lock */
    struct om om;
};

struct model *model_find(uint32_t id);                  /* NULL after fail() */
aclError model_here(uint32_t id, struct model **model); /* found, and loaded in the current context */
aclError dataset_check(const aclmdlDataset *dataset, const char *what);
/* Write the shape that came out into the tensor descriptor of a dataset's entry, where the caller has set one. */
void dataset_tell(const aclmdlDataset *dataset, int index, int ndim, const int64_t *dims);

#endif
