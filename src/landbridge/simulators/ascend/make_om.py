"""Make an Ascend OM file from an ONNX model, to develop without the vendor's compiler (ATC).

The file has the real container, graph and weights, and no compiled code: the simulator runs it, a device would not. Its
``platform_version`` begins with "landbridge-sim". The graph is in the vendor's dialect, in plain layouts, with float16 inside
and a Cast at the borders, as ATC's are. Which operators can be translated is `make_om_operators.TRANSLATORS`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from landbridge.runtime.errors import ModelError, UnsupportedError
from landbridge.runtime.signature import Gears
from landbridge.runtime.vendors.atlas.format import GEAR_INPUT, OUTPUT_TYPE
from landbridge.simulators.ascend.make_om_aipp import AippInput, assign_aipp, parse_aipp, raw_shape
from landbridge.simulators.ascend.make_om_file import Description, Port, write_om
from landbridge.simulators.ascend.make_om_fold import fold_batch_normalization
from landbridge.simulators.ascend.make_om_graph import Attribute, Graph, Tensor
from landbridge.simulators.ascend.make_om_onnx import Prepared, Value, explain_missing_shape, prepare, read_model
from landbridge.simulators.ascend.make_om_operators import FLOATS, GE_CODES, TRANSLATORS, Call, Translation

BORDER_DTYPES = ("float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool", "bfloat16")
"""What an input or output may be."""


def make_om(
    model: Any,
    *,
    gears: Sequence[int] = (),
    image_gears: Sequence[tuple[int, int]] = (),
    dims_gears: Sequence[tuple[int, ...]] = (),
    aipp: str = "",
    name: str = "model",
    soc: str = "Ascend310",
    fp16: bool = True,
    input_dtype: str | None = None,
    output_dtype: str | None = None,
    tiny: bool = False,
) -> bytes:
    """Return ``model`` as an OM file for the simulator; the same bytes for the same model.

    Args:
        model: a ``ModelProto``, its bytes, or the path of a file.
        gears: the batches it is made for; the leading dimension of at least one input must then be dynamic.
        image_gears: the image sizes (height, width) it is made for; these two dimensions of an NCHW input must then be dynamic.
        dims_gears: for each gear the extents of all dynamic dimensions, in the order of the inputs. At most one of the three is given.
        aipp: the text of ATC's configuration file for image preprocessing (`make_om_aipp`), "" for none.
        name: of the model in the file, cut to 31 bytes in its header.
        soc: the chip it says it is for.
        fp16: compute floating types in float16; otherwise each in its own.
        input_dtype: of all inputs that are of a floating type in ``model``; None leaves them as they are.
        output_dtype: the same for outputs.
        tiny: write the form of 2020: version 1, 32-bit partition table, no MODEL_INOUT_INFO.

    Raises:
        ModelError: not a valid model, one whose shapes are not known, or an AIPP configuration that does not fit it.
        UnsupportedError: operators that cannot be translated, all of them, each with its node's name and the reason; image
            preprocessing that is not simulated.

    Example:
        >>> from onnx import parser
        >>> text = '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 4] x) => (float[n, 4] y) { y = Relu(x) }'
        >>> make_om(parser.parse_model(text), gears=(1, 8))[:4]
        b'IMOD'
    """
    proto = read_model(model)
    prepared = fold_batch_normalization(prepare(proto, _gears(gears, image_gears, dims_gears)))
    images = assign_aipp(parse_aipp(aipp), prepared.inputs) if aipp else {}
    if images and prepared.gears is not None and prepared.gears.kind == "dims":
        raise UnsupportedError(
            "AIPP together with dims_gears, which the vendor's tool does not take either", at=prepared.name, code="LB2311"
        )
    prepared = _with_borders(prepared, input_dtype)
    _check_translatable(prepared)
    _check_shapes(prepared, proto)
    maker = _Maker(prepared, images, fp16=fp16)
    maker.add_inputs()
    maker.translate()
    outputs, rows = maker.add_outputs(output_dtype)
    about = Description(name, soc, tuple(maker.inputs), outputs, prepared.gears, maker.order, rows)
    return write_om(maker.graph, about, tiny=tiny)


def _gears(batches: Sequence[int], images: Sequence[tuple[int, int]], dims: Sequence[tuple[int, ...]]) -> Gears | None:
    given = [
        *([Gears("batch", tuple((batch,) for batch in sorted(batches)))] if batches else []),
        *([Gears("image", tuple((height, width) for height, width in images))] if images else []),
        *([Gears("dims", tuple(map(tuple, dims)))] if dims else []),
    ]
    if len(given) > 1:
        raise ModelError(f"gears of {len(given)} kinds, expected one of gears, image_gears and dims_gears")
    return given[0] if given else None


def _with_borders(model: Prepared, input_dtype: str | None) -> Prepared:
    """Return ``model`` with the types of its inputs as they are to be in the file, checked."""
    inputs = tuple(replace(value, dtype=input_dtype) if input_dtype and value.dtype in FLOATS else value for value in model.inputs)
    for value in inputs:
        _check_border("input", value.name, value.dtype)
    return replace(model, inputs=inputs)


def _check_border(kind: str, name: str, dtype: str) -> None:
    if dtype not in BORDER_DTYPES:
        raise UnsupportedError(
            f"{kind} '{name}' is {dtype}, expected one of {', '.join(BORDER_DTYPES)}", hint=f"give {kind}_dtype", code="LB2311"
        )


def _check_translatable(model: Prepared) -> None:
    strange = [
        f"{node.name or node.output[0]} ({node.domain + '.' if node.domain else ''}{node.op_type})"
        for node in model.nodes
        if node.domain not in ("", "ai.onnx") or node.op_type not in TRANSLATORS
    ]
    if strange:
        raise UnsupportedError(
            f"operators that cannot be translated: {', '.join(strange)}",
            at=model.name,
            hint=f"known are {', '.join(TRANSLATORS)}",
            code="LB2311",
        )


def _check_shapes(model: Prepared, proto: Any) -> None:
    for node in model.nodes:
        for name in filter(None, (*node.input, *node.output)):
            if name not in model.constants and any(name not in shapes for shapes in model.shapes):
                raise explain_missing_shape(proto, name)


class _Maker:
    """Builds the graph: inputs, operators, outputs."""

    def __init__(self, model: Prepared, images: Mapping[str, AippInput], *, fp16: bool) -> None:
        self.model = model
        self.images = images
        self.graph = Graph()
        self.inputs: list[Port] = []
        self.state = Translation(model, self.graph, {}, fp16)

    @property
    def order(self) -> tuple[str, ...]:
        """The inputs whose dimensions the gears decide."""
        return tuple(value.name for value in self.model.inputs if None in value.shape)

    def add_inputs(self) -> None:
        """Add a Data for each input, a Cast where its type is not the one computed in, and what chooses the gear."""
        for value in self.model.inputs:
            image = self.images.get(value.name)
            tensor = self._add_plain(value) if image is None else self._add_image(value, image)
            dtype = self.state.dtype(value.name)
            self.state.tensors[value.name] = self._cast(tensor, dtype, f"{value.name}_{dtype}")
        if self.model.gears is not None:
            self._add_chooser(self.model.gears)

    def _add_chooser(self, gears: Gears) -> None:
        width = (len(gears.choices[0]),)
        chooser = self._add_data(GEAR_INPUT, Tensor("", 0, "int64", width), width, (), {"mbatch-inserted-node": True})
        choices: dict[str, Attribute] = {f"_pred_value_{index}": list(choice) for index, choice in enumerate(gears.choices)}
        code = {"batch": 1, "image": 2, "dims": 3}[gears.kind]
        kinds: dict[str, Attribute] = {"_dynamic_type": code, "mbatch_dynamic_type": code}
        if gears.kind == "dims":
            kinds["user_designate_shape_order"] = list(self.order)
        self.graph.add("Case", "mbatch_case", [chooser], [], {"_batch_num": len(choices), **kinds, **choices})

    def _add_plain(self, value: Value) -> Tensor:
        attributes: dict[str, Attribute] = {"_mbatch_origin_input_dims": _dims(value.shape)} if None in value.shape else {}
        tensor = Tensor("", 0, value.dtype, self.model.largest_shape(value.name))
        return self._add_data(value.name, tensor, _dims(value.shape), (), attributes)

    def _add_image(self, value: Value, image: AippInput) -> Tensor:
        """Add the Data of a raw image, NHWC, and the Aipp that makes of it what the network takes."""
        batch, channels, height, width = self.model.largest_shape(value.name)
        raw = raw_shape(image.source_format, (batch, image.source_height or height, image.source_width or width))
        nbytes = math.prod(extent or 0 for extent in raw)
        axes = (value.shape[0], value.shape[2], value.shape[3], value.shape[1])
        dims, source = _dims(axes), _dims(image.source_shape)
        result = f"NCHW:DT_FLOAT16:{value.name}:{2 * batch * channels * height * width}:4:{batch},{channels},{height},{width}"
        attributes: dict[str, Attribute] = {
            "aipp": image.attributes,
            "input_dims": source,
            "_data_related_aipp_mode": "static_aipp",
            "_aipp_inputs": [f"NHWC:DT_UINT8:{value.name}:{nbytes}:4:{','.join(map(str, raw))}"],
            "_aipp_outputs": [result],
            **({"_mbatch_origin_input_dims": dims} if None in value.shape else {}),
        }
        tensor = Tensor("", 0, "uint8", (batch, height, width, channels), "NHWC", nbytes)
        data = self._add_data(value.name, tensor, dims, source, attributes)
        given = [("float16", (batch, channels, height, width))]
        return self.graph.add("Aipp", f"{value.name}_aipp", [data], given, {"aipp": image.attributes}).outputs[0]

    def _add_data(
        self, name: str, tensor: Tensor, dims: tuple[int, ...], source_dims: tuple[int, ...], attributes: dict[str, Attribute]
    ) -> Tensor:
        op = self.graph.add("Data", name, [], [(tensor.dtype, tensor.shape)], {"index": len(self.inputs), **attributes})
        op.outputs[0] = replace(tensor, op=op.name)
        self.inputs.append(Port(name, op.outputs[0], dims, source_dims))
        return op.outputs[0]

    def _cast(self, tensor: Tensor, dtype: str, name: str) -> Tensor:
        if tensor.dtype == dtype:
            return tensor
        return self.graph.add("Cast", name, [tensor], [(dtype, tensor.shape)], {"dst_type": GE_CODES[dtype]}).outputs[0]

    def translate(self) -> None:
        """Translate every node.

        Raises:
            UnsupportedError: naming all that cannot be translated, with the reasons.
        """
        refused = []
        for node in self.model.nodes:
            call = Call(node, self.state)
            try:
                TRANSLATORS[node.op_type](call)
            except UnsupportedError as error:
                refused.append(f"{call.name} ({node.op_type}): {error.message}")
                for name in filter(None, node.output):  # so that those that read them are looked at too
                    self.state.tensors[name] = Tensor(name, 0, self.state.dtype(name), self.model.shape(name))
        if refused:
            raise UnsupportedError(f"nodes that cannot be translated: {'; '.join(refused)}", at=self.model.name, code="LB2311")

    def add_outputs(self, output_dtype: str | None) -> tuple[tuple[Port, ...], tuple[str, ...]]:
        """Add the Casts and the NetOutput; return the outputs and their shapes in each gear."""
        ports, rows = [], []
        for index, name in enumerate(self.model.outputs):
            own = self.model.dtypes[name]
            dtype = output_dtype if output_dtype and own in FLOATS else own
            _check_border("output", name, dtype)
            made = self.state.tensor(name)
            tensor = self._cast(made, dtype, f"{name}_{dtype}")
            tensor = replace(tensor, shape=self.model.largest_shape(name))
            ports.append(Port(f"{made.op}:{made.index}:{name}", tensor, tensor.shape))
            shapes = self.model.shapes if self.model.gears is not None else ()
            rows += [f"{gear},{index}," + ",".join(map(str, entry[name])) for gear, entry in enumerate(shapes)]
        attributes: dict[str, Attribute] = {"_dynamic_output_dims": rows} if rows else {}
        self.graph.add(OUTPUT_TYPE, "Node_Output", [port.tensor for port in ports], [], attributes)
        return tuple(ports), tuple(rows)


def _dims(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(-1 if extent is None else extent for extent in shape)
