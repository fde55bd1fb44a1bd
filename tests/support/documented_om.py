"""The four documented Ascend files: two are the vendor's own, two are written here operator by operator as the documents list them.

All four are one 3x3 convolution, 3 -> 17 channels, of a 16x16 image. In the two with AIPP the vendor's compiler fused the
preprocessing into the convolution, whose attributes are lost; there is a branch for each gear, as in the real file with gears.
"""

from __future__ import annotations

import numpy as np

from support.ge_graph import GeGraph, Value, named
from support.om_data import om_data_dir

GEARS = (1, 2, 4, 8)
FORMATS = {"rgb": 3, "yuv": 1}
"""``input_format`` of each."""
SOURCES = {"rgb": (16, 16, 3), "yuv": (24, 16, 1)}
"""The image that each takes: height, width and depth."""


def documented(name: str) -> bytes:
    """Return the file ``static``, ``dynamic``, ``rgb`` or ``yuv``."""
    if name in FORMATS:
        return _with_aipp(name)
    return (om_data_dir() / {"static": "model_om.om", "dynamic": "model_dyn_om.om"}[name]).read_bytes()


def _with_aipp(name: str) -> bytes:
    graph = GeGraph()
    source = SOURCES[name]
    window = {"crop": True, "load_start_pos_w": 0, "load_start_pos_h": 0, "crop_size_w": 0, "crop_size_h": 0}
    normal = {f"{key}_chn_{channel}": value for channel in range(4) for key, value in (("mean", 0), ("min", 0.0), ("var_reci", 1.0))}
    settings = {"aipp_mode": 1, "input_format": FORMATS[name], "src_image_size_w": 16, "src_image_size_h": 16, **window, **normal}
    image = graph.data(
        "d",
        "uint8",
        (8, 16, 16, 3),
        "NHWC",
        nbytes=8 * int(np.prod(source)),
        aipp=named(settings),
        input_dims=[-1, *source],
        _mbatch_origin_input_dims=[-1, 16, 16, 3],
        _data_related_aipp_mode="static_aipp",
    )
    hidden = graph.data("ascend_mbatch_shape_data", "int64", (1,))
    choices = {f"_pred_value_{index}": [gear] for index, gear in enumerate(GEARS)}
    graph.op("StreamSwitchN", [hidden], Value("switch", "int64", (1,)), {"_batch_num": 4, **choices})
    weights = np.zeros((32, 32, 3, 3), np.float16)
    weights[:17, :3] = np.load(om_data_dir() / "conv1_weights.npy")
    fractal = weights[:, :16].reshape(2, 16, 16, 9).transpose(3, 0, 1, 2)
    filter_ = graph.const("dynamic_const_2", np.ascontiguousarray(fractal), "FRACTAL_Z", origin=(17, 3, 3, 3))
    branches = []
    for index, gear in enumerate(GEARS):
        label = {"_batch_label": f"Batch_{index}"}
        given = Value("d", "uint8", (gear, 16, 16, 3), "NHWC")
        stored = Value(f"conv1_ascend_mbatch_batch_{index}", "float16", (gear, 2, 14, 14, 16), "NC1HWC0")
        conv = graph.op("Conv2D", [image, filter_], stored, label, inner=[given, filter_])
        plain = Value(f"trans_TransData_{index}", "float16", (gear, 17, 14, 14), "NCHW")
        plain = graph.op("TransData", [conv], plain, {"src_format": "NC1HWC0", "dst_format": "NCHW", **label})
        branches.append(graph.op("MemcpyAddrAsync", [plain], Value(f"{plain.name}_Memcpy", "float16", plain.shape, "NCHW"), label))
    merged = graph.op("Merge", branches, Value("conv1_ascend_mbatch_merge_0", "float16", (8, 17, 14, 14), "NCHW"))
    result = graph.op("Cast", [merged], Value("trans_Cast_20", "float32", (8, 17, 14, 14), "NCHW"), {"dst_type": 0})
    graph.output(result)
    return graph.to_bytes(attr_model_out_nodes_name=["conv1:0:conv1"], memory_size=150528, weight_size=9728)
