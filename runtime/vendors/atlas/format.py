"""The numbers of the Ascend OM format: the container, its partitions, the protobuf fields and the codes inside.

Facts only, shared by the reader here and by the maker of OM files for the simulator. Layouts are little endian.

Source: https://github.com/mindspore-ai/graphengine (inc/framework/common/types.h) and metadef (proto/ge_ir.proto).
"""

from __future__ import annotations

import struct
from enum import IntEnum

from landbridge.runtime.vendors.protobuf import MapEntry as MapEntry  # noqa: PLC0414 - belongs to the numbers here, and to every reader of protobuf

MAGIC = b"IMOD"
"""The first four bytes of a file."""

OM2_MAGIC = b"PK\x03\x04"
"""The first four bytes of the third generation of the format ("OM2"), which is a zip."""

HEADER_NBYTES = 256
"""Bytes of the header, also its own field ``headsize``."""

VERSION_1 = 0x10000000
"""Before December 2020: ``platform_version`` stands where later files have ``model_num``."""

VERSION_2 = 0x20000000
"""Since December 2020."""

SIMULATOR_PLATFORM = "landbridge-sim"
"""How ``platform_version`` begins in a file made by Landbridge's own tools for the simulator."""

MODEL_NAME_NBYTES = 32
PLATFORM_VERSION_NBYTES = 20


class Offset(IntEnum):
    """Where a field of the header begins; after `OM_IR_VERSION` the first version and the second differ."""

    MAGIC = 0
    HEADSIZE = 4
    VERSION = 8
    CHECKSUM = 12
    LENGTH = 76
    IS_ENCRYPT = 80
    IS_CHECKSUM = 81
    MODEL_TYPE = 82
    GEN_MODE = 83
    NAME = 84
    OPS = 116
    USER_DEFINE_INFO = 120
    OM_IR_VERSION = 152
    PLATFORM_VERSION_V1 = 156
    MODEL_NUM_V2 = 156
    PLATFORM_VERSION_V2 = 160
    PLATFORM_TYPE_V1 = 176
    PLATFORM_TYPE_V2 = 180
    MODEL_LENGTH = 184
    NEED_CHECK_OS_CPU_INFO = 192
    IS_UNKNOWN_MODEL = 193


class ModelType(IntEnum):
    """The header's ``modeltype``; this reader takes the first three."""

    IR = 0
    STANDARD = 1
    TINY = 2
    FLOW = 3
    LITE = 4
    BUNDLE = 5


class Partition(IntEnum):
    """What a partition holds."""

    MODEL_DEF = 0
    WEIGHTS_DATA = 1
    TASK_INFO = 2
    TBE_KERNELS = 3
    CUST_AICPU_KERNELS = 4
    SO_BINS = 5
    FLOW_MODEL = 6
    FLOW_SUBMODEL = 7
    MODEL_INOUT_INFO = 8
    STATIC_TASK_DESC = 9
    DYNAMIC_TASK_DESC = 10
    TASK_PARAM = 11
    TILING_DATA = 12
    PRE_MODEL_DESC = 20
    PRE_MODEL_SQE = 21
    PRE_MODEL_DESC_EXTEND = 22
    PRE_MODEL_ARGS = 23
    BUNDLE_MODEL_INFO = 24
    BUNDLE_MODEL_VAR_INFO = 25
    CUSTOM_OPS = 26


TINY_ENTRY = struct.Struct("<III")
"""A row of the partition table where ``model_length`` is 0, after ``u32 num``: type, offset, size."""

WIDE_ENTRY = struct.Struct("<I4xQQ")
"""A row of the 64-bit partition table (``model_length`` is not 0), after ``u32 num`` and 4 bytes: type, offset, size."""

KERNEL_ENTRY = struct.Struct("<III")
"""Before each kernel of `Partition.TBE_KERNELS`: magic, length of the name, length of the binary."""

KERNEL_MAGIC = 0x5D776EFD

TLV_HEAD = struct.Struct("<II")
"""Before each value of `Partition.MODEL_INOUT_INFO`: type, length."""

TLV_TENSOR = struct.Struct("<QiiIIII")
"""A tensor of `Tlv.INPUTS` or `Tlv.OUTPUTS`: size, format, dtype (`GE_DTYPES`), bytes of name, dims, dims V2 and ranges; these follow."""


class Tlv(IntEnum):
    """What a value of `Partition.MODEL_INOUT_INFO` holds."""

    INPUTS = 0
    OUTPUTS = 1
    BATCH_GEARS = 2
    IMAGE_GEARS = 3
    DIMS_GEARS = 4
    DYNAMIC_OUTPUT_SHAPES = 5
    INPUT_ORDER = 6


class ModelDef(IntEnum):
    """Field numbers of ``ge.proto.ModelDef``."""

    NAME = 1
    VERSION = 2
    CUSTOM_VERSION = 3
    GRAPH = 7
    ATTR = 11


class GraphDef(IntEnum):
    """Field numbers of ``ge.proto.GraphDef``."""

    NAME = 1
    INPUT = 4
    OUTPUT = 5
    OP = 6
    ATTR = 11


class OpDef(IntEnum):
    """Field numbers of ``ge.proto.OpDef``; an input is written ``src:index``, a control edge ``src:-1``."""

    NAME = 1
    TYPE = 2
    INPUT = 5
    ATTR = 10
    ID = 21
    STREAM_ID = 22
    INPUT_NAME = 23
    SRC_NAME = 24
    SRC_INDEX = 25
    DST_NAME = 26
    DST_INDEX = 27
    INPUT_I = 28
    OUTPUT_I = 29
    WORKSPACE = 30
    WORKSPACE_BYTES = 31
    IS_INPUT_CONST = 32
    INPUT_DESC = 33
    OUTPUT_DESC = 34
    SUBGRAPH_NAME = 35


class TensorDescriptor(IntEnum):
    """Field numbers of ``ge.proto.TensorDescriptor``; its dtype is one of `PROTO_DTYPES`."""

    NAME = 1
    DTYPE = 2
    SHAPE = 3
    LAYOUT = 4
    ATTR = 5
    SIZE = 10
    WEIGHT_SIZE = 11
    DATA_OFFSET = 18


class ShapeDef(IntEnum):
    """Field numbers of ``ge.proto.ShapeDef``."""

    DIM = 1


class TensorDef(IntEnum):
    """Field numbers of ``ge.proto.TensorDef``."""

    DESC = 1
    DATA = 2


class AttrDef(IntEnum):
    """Field numbers of the one-of ``ge.proto.AttrDef``."""

    LIST = 1
    S = 2
    I = 3  # noqa: E741 - the name in the schema
    F = 4
    B = 5
    BT = 7
    FUNC = 10
    TD = 11
    T = 12
    G = 13
    LIST_LIST_INT = 14
    DT = 15
    LIST_LIST_FLOAT = 16


class AttrList(IntEnum):
    """Field numbers of ``ge.proto.AttrDef.ListValue``."""

    S = 2
    I = 3  # noqa: E741 - the name in the schema
    F = 4
    B = 5
    BT = 7
    TD = 8
    T = 9
    G = 10
    NA = 11
    DT = 12
    VAL_TYPE = 20


class NamedAttrs(IntEnum):
    """Field numbers of ``ge.proto.NamedAttrs``."""

    NAME = 1
    ATTR = 2


class ModelTaskDef(IntEnum):
    """Field numbers of ``domi.ModelTaskDef`` (`Partition.TASK_INFO`)."""

    VERSION = 1
    TASK = 10
    MEMORY_SIZE = 11
    STREAM_NUM = 12
    EVENT_NUM = 13
    WEIGHT_SIZE = 14


GE_DTYPES: dict[int, str] = {
    0: "float32",
    1: "float16",
    2: "int8",
    3: "int32",
    4: "uint8",
    6: "int16",
    7: "uint16",
    8: "uint32",
    9: "int64",
    10: "uint64",
    11: "float64",
    12: "bool",
    13: "string",
    16: "complex64",
    17: "complex128",
    27: "bfloat16",
    29: "int4",
}
"""``ge::DataType``, the numbers in attributes, in `Partition.MODEL_INOUT_INFO` and in the C interface (``aclDataType``)."""

PROTO_DTYPES: dict[int, str] = {
    1: "float32",
    2: "float16",
    3: "int8",
    4: "uint8",
    5: "int16",
    6: "uint16",
    7: "int32",
    8: "int64",
    9: "uint32",
    10: "uint64",
    11: "bool",
    12: "float64",
    13: "string",
    16: "complex64",
    17: "complex128",
    27: "bfloat16",
    28: "int4",
}
"""``ge.proto.DataType``, the numbers in a `TensorDescriptor` of the graph."""

ITEM_NBYTES: dict[str, int] = {
    "float32": 4,
    "float16": 2,
    "int8": 1,
    "int32": 4,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
    "bfloat16": 2,
}
"""Bytes of one element, of the types that inputs and outputs may have."""

FORMATS: dict[int, str] = {
    0: "NCHW",
    1: "NHWC",
    2: "ND",
    3: "NC1HWC0",
    4: "FRACTAL_Z",
    12: "NC1HWC0_C04",
    16: "HWCN",
    27: "NDHWC",
    29: "FRACTAL_NZ",
    30: "NCDHW",
    32: "NDC1HWC0",
    33: "FRACTAL_Z_3D",
    35: "NC",
    47: "NCL",
}
"""``ge::Format``; in the graph the name itself is written."""

AIPP_FORMATS: dict[int, str] = {
    1: "YUV420SP_U8",
    2: "XRGB8888_U8",
    3: "RGB888_U8",
    4: "YUV400_U8",
    5: "NC1HWC0DI_FP16",
    6: "NC1HWC0DI_S8",
    7: "ARGB8888_U8",
    8: "YUYV_U8",
    9: "YUV422SP_U8",
    10: "AYUV444_U8",
    11: "RAW10",
    12: "RAW12",
    13: "RAW16",
    14: "RAW24",
}
"""``domi.AippOpParams.InputFormat``."""

GEAR_INPUT = "ascend_mbatch_shape_data"
"""The hidden input that selects a gear (``ACL_DYNAMIC_TENSOR_NAME``)."""

AIPP_INPUT = "ascend_dynamic_aipp_data"
"""The hidden input of dynamic AIPP (``ACL_DYNAMIC_AIPP_NAME``)."""

INPUT_TYPES = ("Data", "AippData", "AnnData")
"""Types of the operators that are inputs of the graph."""

GEAR_TYPES = ("StreamSwitchN", "Case")
"""Types of the operator that selects a gear, in old files and in newer ones."""

OUTPUT_TYPE = "NetOutput"
"""Type of the operator whose inputs are the outputs of the graph."""
