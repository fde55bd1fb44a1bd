/* Static image preprocessing (AIPP): what a file says of it. */
#ifndef LANDBRIDGE_ASCEND_AIPP_H
#define LANDBRIDGE_ASCEND_AIPP_H

#include "om.h"

struct aipp {
    aclAippInfo info; /* without the shapes at its end */
    float padding_value;
};

/* Read those settings of a NamedAttrs that the file has. */
void aipp_read_info(struct view settings, aclAippInfo *info);

/* Read the settings of a NamedAttrs; what the file leaves out has the vendor's default. */
void aipp_read(struct view settings, struct aipp *aipp);

#endif
