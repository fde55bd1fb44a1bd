/* The types, codes and structures of the C interface of libascendcl, as ACL 1.8 has them (all enums are int). */
#ifndef LANDBRIDGE_ASCEND_ACL_H
#define LANDBRIDGE_ASCEND_ACL_H

#include <stddef.h>
#include <stdint.h>

typedef int aclError;

enum {
    ACL_SUCCESS = 0,
    ACL_ERROR_INVALID_PARAM = 100000,
    ACL_ERROR_UNINITIALIZE = 100001,
    ACL_ERROR_REPEAT_INITIALIZE = 100002,
    ACL_ERROR_INVALID_FILE = 100003,
    ACL_ERROR_MODEL_INPUT_NOT_MATCH = 100017,
    ACL_ERROR_MODEL_OUTPUT_NOT_MATCH = 100018,
    ACL_ERROR_MODEL_NOT_DYNAMIC = 100019,
    ACL_ERROR_REPEAT_FINALIZE = 100037,
    ACL_ERROR_RT_PARAM_INVALID = 107000,
    ACL_ERROR_RT_INVALID_DEVICEID = 107001,
    ACL_ERROR_RT_CONTEXT_NULL = 107002,
    ACL_ERROR_RT_STREAM_CONTEXT = 107003,
    ACL_ERROR_RT_MODEL_CONTEXT = 107004,
    ACL_ERROR_GE_EXEC_MODEL_ID_INVALID = 145003,
    ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID = 145006,
    ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID = 145007,
    ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID = 145012,
    ACL_ERROR_GE_DYNAMIC_BATCH_SIZE_INVALID = 145013,
    ACL_ERROR_GE_AIPP_NOT_EXIST = 145015,
    ACL_ERROR_BAD_ALLOC = 200000,
    ACL_ERROR_API_NOT_SUPPORT = 200001,
    ACL_ERROR_RT_MEMORY_ALLOCATION = 207001,
    ACL_ERROR_GE_FAILURE = 500002,
    ACL_ERROR_RT_FAILURE = 500003,
    ACL_ERROR_RT_SOC_VERSION = 507008,
    ACL_ERROR_RT_MODEL_EXECUTE = 507011,
    ACL_ERROR_RT_AICORE_EXCEPTION = 507015,
    ACL_ERROR_GE_LOAD_MODEL = 545001,
    ACL_ERROR_GE_LOAD_MODEL_PARTITION_FAILED = 545002,
    ACL_ERROR_GE_LOAD_WEIGHT_PARTITION_FAILED = 545003
};

enum { /* aclDataType, which is also ge::DataType */
       ACL_DT_UNDEFINED = -1,
       ACL_FLOAT = 0,
       ACL_FLOAT16 = 1,
       ACL_INT8 = 2,
       ACL_INT32 = 3,
       ACL_UINT8 = 4,
       ACL_INT16 = 6,
       ACL_UINT16 = 7,
       ACL_UINT32 = 8,
       ACL_INT64 = 9,
       ACL_UINT64 = 10,
       ACL_DOUBLE = 11,
       ACL_BOOL = 12,
       ACL_BF16 = 27
};

enum { /* aclFormat */
       ACL_FORMAT_UNDEFINED = -1,
       ACL_FORMAT_NCHW = 0,
       ACL_FORMAT_NHWC = 1,
       ACL_FORMAT_ND = 2,
       ACL_FORMAT_NC1HWC0 = 3,
       ACL_FORMAT_FRACTAL_Z = 4,
       ACL_FORMAT_HWCN = 16,
       ACL_FORMAT_FRACTAL_NZ = 29
};

enum { ACL_MEMCPY_HOST_TO_HOST, ACL_MEMCPY_HOST_TO_DEVICE, ACL_MEMCPY_DEVICE_TO_HOST, ACL_MEMCPY_DEVICE_TO_DEVICE };

enum { ACL_DEVICE = 0, ACL_HOST = 1 };

enum { ACL_DATA_WITHOUT_AIPP = 0, ACL_DATA_WITH_STATIC_AIPP = 1, ACL_DATA_WITH_DYNAMIC_AIPP = 2, ACL_DYNAMIC_AIPP_NODE = 3 };

enum { /* aclmdlConfigAttr */
       ACL_MDL_PRIORITY_INT32,
       ACL_MDL_LOAD_TYPE_SIZET,
       ACL_MDL_PATH_PTR,
       ACL_MDL_MEM_ADDR_PTR,
       ACL_MDL_MEM_SIZET,
       ACL_MDL_WEIGHT_ADDR_PTR,
       ACL_MDL_WEIGHT_SIZET,
       ACL_MDL_WORKSPACE_ADDR_PTR,
       ACL_MDL_WORKSPACE_SIZET,
       ACL_MDL_WORKSPACE_MEM_OPTIMIZE = 13
};

enum { ACL_MDL_LOAD_FROM_FILE = 1, ACL_MDL_LOAD_FROM_FILE_WITH_MEM, ACL_MDL_LOAD_FROM_MEM, ACL_MDL_LOAD_FROM_MEM_WITH_MEM };

#define ACL_MAX_DIM_CNT 128
#define ACL_MAX_TENSOR_NAME_LEN 128
#define ACL_DYNAMIC_TENSOR_NAME "ascend_mbatch_shape_data"

typedef struct aclmdlIODims {
    char name[ACL_MAX_TENSOR_NAME_LEN];
    size_t dimCount;
    int64_t dims[ACL_MAX_DIM_CNT];
} aclmdlIODims;

typedef struct aclmdlBatch {
    size_t batchCount;
    uint64_t batch[128];
} aclmdlBatch;

typedef struct aclmdlHW {
    size_t hwCount;
    uint64_t hw[128][2];
} aclmdlHW;

typedef struct aclAippDims {
    aclmdlIODims srcDims;
    size_t srcSize;
    aclmdlIODims aippOutdims;
    size_t aippOutSize;
} aclAippDims;

typedef struct aclAippInfo {
    int inputFormat;
    int32_t srcImageSizeW, srcImageSizeH;
    int8_t cropSwitch;
    int32_t loadStartPosW, loadStartPosH, cropSizeW, cropSizeH;
    int8_t resizeSwitch;
    int32_t resizeOutputW, resizeOutputH;
    int8_t paddingSwitch;
    int32_t leftPaddingSize, rightPaddingSize, topPaddingSize, bottomPaddingSize;
    int8_t cscSwitch, rbuvSwapSwitch, axSwapSwitch, singleLineMode;
    int32_t matrix[9], outputBias[3], inputBias[3], meanChn[4];
    float minChn[4], varReciChn[4];
    int srcFormat, srcDatatype;
    size_t srcDimNum, shapeCount;
    aclAippDims outDims[128];
    void *aippExtend;
} aclAippInfo;

_Static_assert(sizeof(aclmdlIODims) == 1160 && sizeof(aclmdlHW) == 2056, "the ABI of ACL's structures");
_Static_assert(sizeof(aclAippDims) == 2336 && sizeof(aclAippInfo) == 299216, "the ABI of ACL's AIPP structures");
_Static_assert(offsetof(aclAippInfo, outDims) == 200 && offsetof(aclAippInfo, srcFormat) == 176, "the ABI of aclAippInfo");

typedef struct aclDataBuffer aclDataBuffer;
typedef struct aclTensorDesc aclTensorDesc;
typedef struct aclmdlDataset aclmdlDataset;
typedef struct aclmdlDesc aclmdlDesc;
typedef struct aclmdlConfigHandle aclmdlConfigHandle;
typedef void *aclrtContext;
typedef void *aclrtStream;

#endif
