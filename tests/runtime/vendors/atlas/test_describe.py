from __future__ import annotations

from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.runtime.vendors.atlas.format import VERSION_2, Partition
from support.om_data import om_data_dir
from support.om_files import GEAR_SELECTOR, data, model_def, om_file, result, simple_file


def test_the_real_static_file() -> None:
    described = AtlasVendor().describe((om_data_dir() / "model_om.om").read_bytes())
    kernels = "trans_Cast_5 1264 B, trans_TransData_4 4928 B, conv1 1672 B, trans_TransData_1 1560 B, trans_Cast_0 1224 B"
    assert described == [
        ("container", "OM version 1 (0x10000000), 32-bit partition table, not encrypted"),
        ("model", "model (type ir, IR version 2)"),
        ("platform", "1.11.z.0, type 1 (MINI, Ascend310)"),
        ("partitions", "MODEL_DEF 10141 B at 308, WEIGHTS_DATA 9728 B at 10449, TBE_KERNELS 10771 B at 20177, TASK_INFO 1968 B at 30948"),
        ("operators", "8: Data, Cast x2, TransData x2, Const, Conv2D, NetOutput"),
        ("kernels", f"5: {kernels}"),
        ("tasks", "8, on 1 streams with 0 events"),
        ("memory", "150528 B while it runs (12800 B of inputs and outputs), weights 9728 B"),
        (
            "constant",
            "dynamic_const_2: float16 FRACTAL_Z [9, 2, 16, 16] (as written: NCHW [17, 3, 3, 3]), 9216 B at offset 512 of the weights",
        ),
        ("convolution", "conv1: strides [1, 1, 1, 1], pads [0, 0, 0, 0], dilations [1, 1, 1, 1]"),
    ]


def test_the_real_file_with_gears() -> None:
    described = AtlasVendor().describe((om_data_dir() / "model_dyn_om.om").read_bytes())
    facts = dict(described)
    assert facts["operators"] == (
        "33: Data x2, StreamSwitchN, Cast x5, TransData x8, Const, Conv2D x4, MemcpyAddrAsync x4, StreamActive x4, Merge, Send, Recv, "
        "NetOutput"
    )
    assert facts["kernels"].startswith("17: trans_TransData_19 3136 B, ")
    assert facts["kernels"].endswith(", ...")
    assert facts["tasks"] == "39, on 7 streams with 1 events"
    assert facts["memory"] == "361984 B while it runs (25600 B of inputs and outputs), weights 9728 B"
    assert facts["hidden input"] == "ascend_mbatch_shape_data int64 [1]"
    assert [label for label, _ in described].count("convolution") == 4


def test_a_file_of_our_own_says_that_it_is_for_the_simulator() -> None:
    graph = model_def([data("x", (1,)), result((1,))])
    made = om_file([(Partition.MODEL_DEF, graph)], platform="landbridge-sim 0.1", version=VERSION_2, wide=True)
    facts = dict(AtlasVendor().describe(made))
    assert facts["container"] == "OM version 2 (0x20000000), 64-bit partition table, not encrypted"
    assert facts["platform"] == "landbridge-sim 0.1 (made for the simulator), type 1 (Ascend310)"
    assert facts["kernels"] == "0"


def test_a_hidden_input_is_named_even_without_gears() -> None:
    facts = dict(AtlasVendor().describe(simple_file(data("x", (1,)), GEAR_SELECTOR, result((1,)))))
    assert facts["hidden input"] == "ascend_mbatch_shape_data int64 [1]"
