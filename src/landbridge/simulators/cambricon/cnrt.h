/* The types, codes and structures of the C interface of libcnrt, as CNRT 4 has them (all enums are int). */
#ifndef LANDBRIDGE_CAMBRICON_CNRT_H
#define LANDBRIDGE_CAMBRICON_CNRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int cnrtRet_t;
typedef uint64_t cnrtDev_t;
typedef void *cnrtQueue_t, *cnrtModel_t, *cnrtFunction_t, *cnrtRuntimeContext_t, *cnrtParamDesc_t;

enum {
    CNRT_RET_SUCCESS = 0,
    CNRT_RET_WARNING_FAKE_DEVICE = 1,
    CNRT_RET_ERR_NOT_READY = 632006,
    CNRT_RET_ERR_INVALID = 632007,
    CNRT_RET_ERR_NOMEM = 632008,
    CNRT_RET_ERR_NODEV = 632009,
    CNRT_RET_ERR_IO = 632010,
    CNRT_RET_ERR_SYS = 632011,
    CNRT_RET_ERR_BUSY = 632014,
    CNRT_RET_ERR_UNSUPPORTED = 632020,
    CNRT_RET_ERR_INVALID_POINTER = 632021,
    CNRT_RET_ERR_NO_EXIST = 632022,
    CNRT_RET_ERR_INIT = 632024,
    CNRT_RET_ERR_QUEUE = 632025,
    CNRT_RET_ERR_MLU = 632032,
    CNRT_RET_ERR_MEMCPY = 632036,
    CNRT_RET_ERR_UNKNOWN = 999991
};

enum { /* cnrtMemTransDir_t: not the order of CUDA, nor that of ACL */
       CNRT_MEM_TRANS_DIR_HOST2DEV,
       CNRT_MEM_TRANS_DIR_DEV2DEV,
       CNRT_MEM_TRANS_DIR_DEV2HOST,
       CNRT_MEM_TRANS_DIR_HOST2HOST
};

enum { /* cnrtMemType_t */
       CNRT_MEMTYPE_DEFAULT,
       CNRT_MEMTYPE_LOCKED
};

enum { /* cnrtDataType_t */
       CNRT_FLOAT16 = 0x12,
       CNRT_FLOAT32 = 0x13,
       CNRT_INT8 = 0x21,
       CNRT_INT16 = 0x22,
       CNRT_INT32 = 0x23,
       CNRT_INT64 = 0x24,
       CNRT_UINT8 = 0x31,
       CNRT_UINT16 = 0x32,
       CNRT_UINT32 = 0x33,
       CNRT_QUANT8 = 0x51,
       CNRT_BOOL = 0x61
};

enum { CNRT_NHWC = 0x0231 }; /* cnrtDimOrder_t: that of all data on the device */

enum { CNRT_MLU270 = 5, CNRT_MLU220 = 6, CNRT_MLU290 = 7 }; /* cnrtCoreVersion_t */

typedef struct {
    char device_name[64];
    int core_version;
    int core_num;
} cnrtDeviceInfo_t;

_Static_assert(sizeof(cnrtDeviceInfo_t) == 72, "the ABI of cnrtDeviceInfo_t");

#endif
