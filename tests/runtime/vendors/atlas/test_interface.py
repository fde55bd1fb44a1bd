from __future__ import annotations

import pytest

from landbridge.runtime.errors import SignatureError
from landbridge.runtime.signature import Aipp, Gears, Port, Signature
from landbridge.runtime.vendors.atlas import AtlasVendor
from landbridge.runtime.vendors.atlas.format import VERSION_2, Partition, Tlv
from support.om_data import om_data_dir
from support.om_files import (
    GEAR_SELECTOR,
    Op,
    data,
    model_def,
    om_file,
    result,
    simple_file,
    tlv,
    tlv_gears,
    tlv_tensors,
    tlv_texts,
)

VENDOR = AtlasVendor()
SELECTOR = GEAR_SELECTOR


def read(data: bytes) -> Signature:
    return VENDOR.read_signature(data, {})


def refusal(data: bytes) -> str:
    with pytest.raises(SignatureError) as caught:
        read(data)
    return str(caught.value)


def switch(*choices: tuple[int, ...], kind: int | None = None, **more: int) -> Op:
    attributes: dict[str, int | tuple[int, ...]] = {"_batch_num": len(choices), **more}
    attributes |= {f"_pred_value_{index}": choice for index, choice in enumerate(choices)}
    if kind is not None:
        attributes["mbatch_dynamic_type"] = kind
    return Op("switch", "Case", (), attributes)


def test_the_real_static_file() -> None:
    signature = read((om_data_dir() / "model_om.om").read_bytes())
    assert signature.inputs == (Port("d", "float32", (4, 3, 16, 16), "NCHW"),)
    assert signature.outputs == (Port("conv1:0:conv1", "float32", (4, 17, 14, 14), "NCHW"),)
    assert signature.gears is None
    assert (signature.workspace_nbytes, signature.weight_nbytes) == (150528, 9728)
    assert signature.versions == {"platform": "1.11.z.0", "soc": "Ascend310"}
    assert set(signature.origin) == {"inputs", "outputs", "gears", "workspace_nbytes", "weight_nbytes", "versions"}
    assert set(signature.origin.values()) == {"file"}
    assert Signature.from_json(signature.to_json()) == signature


def test_the_real_file_with_gears() -> None:
    signature = read((om_data_dir() / "model_dyn_om.om").read_bytes())
    assert signature.inputs == (Port("d", "float32", ("batch", 3, 16, 16), "NCHW"),)
    assert signature.outputs == (Port("conv1:0:conv1", "float32", ("batch", 17, 14, 14), "NCHW"),)
    assert signature.gears == Gears("batch", ((1,), (2,), (4,), (8,)))
    assert signature.gears.batches == (1, 2, 4, 8)


def test_inputs_are_in_the_order_of_their_index() -> None:
    signature = read(simple_file(data("b", (2,), index=1), data("a", (3,), index=0), result((1,))))
    assert [port.name for port in signature.inputs] == ["a", "b"]
    signature = read(simple_file(data("b", (2,)), data("a", (3,)), result((1,))))
    assert [port.name for port in signature.inputs] == ["b", "a"]


def test_element_types_of_the_graph_have_the_graphs_numbers() -> None:
    signature = read(simple_file(data("a", (2,), dtype=7), data("b", (2,), dtype=4), result((1,), dtype=27)))
    assert [port.dtype for port in signature.inputs] == ["int32", "uint8"]
    assert signature.outputs[0].dtype == "bfloat16"


def test_outputs_are_named_by_the_model_or_by_their_source() -> None:
    assert [port.name for port in read(simple_file(data("a", (2,)), result((1,), (2,)))).outputs] == ["output_0_last_0", "output_1_last_1"]
    named = simple_file(data("a", (2,)), result((1,), (2,)), attributes={"attr_model_out_nodes_name": ["x", "y:0:z"]})
    assert [port.name for port in read(named).outputs] == ["x:0", "y:0:z"]


def test_a_static_aipp_input_has_the_shape_of_its_source_image() -> None:
    aipp = {"input_format": 1, "src_image_size_h": 16, "src_image_size_w": 16}
    image = data(
        "d", (8, 16, 16, 3), dtype=4, layout="NHWC", aipp=aipp, input_dims=(-1, 24, 16, 1), _mbatch_origin_input_dims=(-1, 16, 16, 3)
    )
    selector = switch((1,), (8,))
    signature = read(simple_file(image, SELECTOR, selector, result((8, 5))))
    assert signature.inputs == (Port("d", "uint8", ("batch", 24, 16, 1), "NHWC", Aipp("static", "YUV420SP_U8", 16, 16)),)
    assert signature.outputs[0].shape == ("batch", 5)


def test_dynamic_aipp_is_refused() -> None:
    text = " has dynamic AIPP, which is set call by call and cannot be used here\n  hint: compile with static AIPP"
    hidden = data("ascend_dynamic_aipp_data", (1,))
    assert refusal(simple_file(data("d", (4,)), hidden, result((1,)))).startswith("the hidden input 'ascend_dynamic_aipp_data'" + text)
    marked = data("d", (4,), _data_related_aipp_mode="dynamic_aipp")
    assert refusal(simple_file(marked, result((1,)))).startswith("input 'd'" + text)


def test_a_varying_input_without_gears_is_refused() -> None:
    assert refusal(simple_file(data("d", (-1, 4)), result((1,)))) == (
        "input 'd' varies in size, and the model has no gears\n"
        "  hint: compile the model with fixed shapes (--input_shape) or with gears (--dynamic_batch_size)"
    )


def test_an_input_without_a_batch_stays_fixed_under_batch_gears() -> None:
    moving = data("x", (8, 3), _mbatch_origin_input_dims=(-1, 3))
    signature = read(simple_file(moving, data("table", (4, 4)), SELECTOR, switch((4,), (8,)), result((8, 2), (4, 4))))
    assert [port.shape for port in signature.inputs] == [("batch", 3), (4, 4)]
    assert [port.shape for port in signature.outputs] == [("batch", 2), (4, 4)]


def test_output_shapes_of_each_gear_decide_what_follows_the_batch() -> None:
    moving = data("x", (8, 3), _mbatch_origin_input_dims=(-1, 3))
    rows = ["0,0,4,2", "0,1,8,1", "0,2,8", "1,0,8,2", "1,1,8,1", "1,2,16"]
    outputs = result((8, 2), (8, 1), (16,), _dynamic_output_dims=rows)
    signature = read(simple_file(moving, SELECTOR, switch((4,), (8,)), outputs))
    assert [port.shape for port in signature.outputs] == [("batch", 2), (8, 1), ("output2_dim0",)]


def test_with_one_gear_the_leading_dimension_is_the_batch() -> None:
    moving = data("x", (4, 4), _mbatch_origin_input_dims=(-1, 4))
    signature = read(simple_file(moving, SELECTOR, switch((4,)), result((4, 4), _dynamic_output_dims=["0,0,4,4"])))
    assert signature.outputs[0].shape == ("batch", 4)


def test_image_gears_name_height_and_width() -> None:
    moving = data("x", (1, 3, 32, 64), _mbatch_origin_input_dims=(1, 3, -1, -1))
    outputs = result((1, 5, 32, 64), _dynamic_output_dims=["0,0,1,5,16,32", "1,0,1,5,32,64"])
    signature = read(simple_file(moving, SELECTOR, switch((16, 32), (32, 64), kind=2), outputs))
    assert signature.gears == Gears("image", ((16, 32), (32, 64)), (((1, 5, 16, 32),), ((1, 5, 32, 64),)))
    assert Signature.from_json(signature.to_json()) == signature
    assert signature.inputs[0].shape == (1, 3, "height", "width")
    assert signature.outputs[0].shape == (1, 5, "height", "width")


def test_dims_gears_name_each_dimension_in_the_users_order() -> None:
    x, y = data("x", (8, 9), _mbatch_origin_input_dims=(-1, 9)), data("y", (2, 6), _mbatch_origin_input_dims=(-1, -1))
    selector = Op("switch", "Case", (), {**switch((2, 6, 8), (1, 3, 4), kind=3).attributes, "user_designate_shape_order": ["y", "x"]})
    signature = read(simple_file(x, y, SELECTOR, selector, result((8, 9))))
    assert signature.gears == Gears("dims", ((2, 6, 8), (1, 3, 4)))
    assert [port.shape for port in signature.inputs] == [("dim2", 9), ("dim0", "dim1")]


@pytest.mark.parametrize(
    ("operators", "text"),
    [
        ([data("x", (2,))], "MODEL_DEF: the graph has 0 operators NetOutput, expected one"),
        ([data("x", (2,)), result((1,)), result((1,))], "MODEL_DEF: the graph has 2 operators NetOutput, expected one"),
        ([Op("x", "Data"), result((1,))], "MODEL_DEF: input 'x' has no descriptor"),
        ([data("x", (2,), dtype=99), result((1,))], "MODEL_DEF.graph.op.input_desc: element type 99 is unknown"),
        ([data("x", (2,), dtype=13), result((1,))], "'x' has the type string, which cannot be fed from here"),
        ([data("x", (-3, 2)), result((1,))], "'x' has the shape [-3, 2]"),
        ([data("x", (1 << 40, 1 << 40)), result((1,))], "'x' has the shape [1099511627776, 1099511627776]"),
        ([data("x", (2,)), Op("out", "NetOutput", [(1, (1,), "ND")])], "MODEL_DEF: 1 outputs from 0 operators"),
        ([data("x", (2,)), Op("out", "NetOutput")], "the model has no outputs"),
        ([data("x", (2,)), switch((1,)), result((1,))], "the model has gears but no input 'ascend_mbatch_shape_data'"),
        ([data("x", (2,)), SELECTOR, switch((0,)), result((1,))], "gears [[0]] for a dynamic batch"),
        ([data("x", (2,)), SELECTOR, switch((1,), (2, 3)), result((1,))], "gears [[1], [2, 3]] for a dynamic batch"),
        ([data("x", (2,)), SELECTOR, switch((1,), (2,)), result((1,))], "0 dimensions vary, but gears are 1 numbers each"),
        ([data("x", (2, -1)), SELECTOR, switch((1,)), result((1,))], "input 'x' varies along axes [1], but the gears are batches"),
        ([data("x", (2, -1)), SELECTOR, switch((1, 2)), result((1,))], "input 'x' varies along axes [1], expected 2 of them"),
        (
            [data("x", (-1,)), SELECTOR, Op("s", "Case", (), {"_batch_num": 2, "_pred_value_0": (1,)}), result((1,))],
            "MODEL_DEF: 's' has 1 gears",
        ),
        ([data("x", (-1,)), SELECTOR, switch((1,)), result((1,), _dynamic_output_dims=["0,x"])], "output shape '0,x', expected numbers"),
        (
            [data("x", (-1,)), SELECTOR, switch((1,)), result((1,), _dynamic_output_dims=["1,0,1"])],
            "1 output shapes for 1 gears and 1 outputs",
        ),
        (
            [data("x", (-1,)), SELECTOR, switch((1,), (2,)), result((1,), _dynamic_output_dims=["0,0,1", "1,0,2,2"])],
            "output 'output_0_last_0' has another rank in each gear",
        ),
        ([data("x", (2,), aipp={"input_format": 70}), result((1,))], "input 'x': AIPP format 70 is unknown"),
    ],
)
def test_a_contradictory_graph_is_named(operators: list[Op], text: str) -> None:
    assert refusal(simple_file(*operators)).startswith(text)


def test_a_graph_without_operators_is_refused() -> None:
    assert refusal(simple_file()) == "MODEL_DEF: the graph has no operators\n  hint: the file is damaged"


GRAPH = model_def([data("d", (8, 3)), SELECTOR, result((8, 7))], {"soc_version": "Ascend310P3", "atc_version": "7.0", "memory_size": 64})
INPUTS = [("d", 4, 1, (-1, 16, 16, 3), (-1, 24, 16, 1)), ("ascend_mbatch_shape_data", 9, 2, (1,), (1,))]
LISTED = tlv_tensors(Tlv.INPUTS, INPUTS) + tlv_tensors(Tlv.OUTPUTS, [("o", 1, 0, (8, 7), (8, 7))])


def listed(info: bytes, graph: bytes = GRAPH) -> bytes:
    return om_file([(Partition.MODEL_DEF, graph), (Partition.MODEL_INOUT_INFO, info)], version=VERSION_2, wide=True)


def test_a_listed_interface_wins_over_the_graph() -> None:
    gears = tlv_gears(Tlv.BATCH_GEARS, [(2,), (8,)]) + tlv_texts(Tlv.DYNAMIC_OUTPUT_SHAPES, ["0,0,2,7", "1,0,8,7"])
    signature = read(listed(LISTED + gears))
    assert signature.inputs == (Port("d", "uint8", ("batch", 24, 16, 1), "NHWC", Aipp("static", "unknown")),)
    assert signature.outputs == (Port("o", "float16", ("batch", 7), "NCHW"),)
    assert signature.gears == Gears("batch", ((2,), (8,)))
    assert signature.versions == {"platform": "1.11.z.0", "soc": "Ascend310P3", "atc": "7.0"}
    assert signature.workspace_nbytes == 64


def test_listed_image_and_dims_gears() -> None:
    inputs = tlv_tensors(Tlv.INPUTS, [("d", 0, 0, (1, 3, -1, -1), (1, 3, -1, -1)), INPUTS[1]])
    outputs = tlv_tensors(Tlv.OUTPUTS, [("o", 0, 0, (1,), (1,))])
    image = read(listed(inputs + outputs + tlv_gears(Tlv.IMAGE_GEARS, [(8, 8), (16, 8)])))
    assert (image.inputs[0].shape, image.gears) == ((1, 3, "height", "width"), Gears("image", ((8, 8), (16, 8))))
    dims = read(listed(inputs + outputs + tlv_gears(Tlv.DIMS_GEARS, [(8, 8)])))
    assert (dims.inputs[0].shape, dims.gears) == ((1, 3, "dim0", "dim1"), Gears("dims", ((8, 8),)))


def test_a_damaged_list_is_refused() -> None:
    assert refusal(listed(LISTED[:-3])).startswith("MODEL_INOUT_INFO: ")
    assert (
        refusal(listed(tlv_tensors(Tlv.INPUTS, INPUTS)))
        == "MODEL_INOUT_INFO: it lists no inputs or no outputs\n  hint: the file is damaged"
    )
    many = tlv(Tlv.INPUTS, b"\xff\xff\xff\xff") + tlv_tensors(Tlv.OUTPUTS, [])
    assert refusal(listed(many)) == "MODEL_INOUT_INFO: 4294967295 entries in 0 bytes\n  hint: the file is damaged"
    strange = tlv_tensors(Tlv.INPUTS, [("d", 5, 0, (1,), (1,))]) + tlv_tensors(Tlv.OUTPUTS, [])
    assert refusal(listed(strange)).startswith("MODEL_INOUT_INFO: element type 5 is unknown")


def test_truncated_lists_only_raise_signature_errors() -> None:
    info = LISTED + tlv_gears(Tlv.BATCH_GEARS, [(2,), (8,)])
    for length in range(len(info)):
        with pytest.raises(SignatureError):
            read(listed(info[:length]))


def test_the_vendor_recognises_its_own_files_only() -> None:
    assert VENDOR.recognises(simple_file())
    assert VENDOR.recognises(b"PK\x03\x04 PK\x01\x02data/model_0/model_meta.json")
    assert not VENDOR.recognises(b"PK\x03\x04 an artifact")
    assert not VENDOR.recognises(b"")
    assert "OM2" in refusal(b"PK\x03\x04 PK\x01\x02data/model_0/model_meta.json")
