"""Make an Ascend OM file from an ONNX model, to develop without the vendor's compiler (ATC).

The file has the real container, graph and weights, and no compiled code: the simulator runs it, a device would not. Its
``platform_version`` begins with "landbridge-sim". The graph is in the vendor's dialect, in plain layouts, with float16 inside
and a Cast at the borders, as ATC's are. Which operators can be translated is `make_om_operators.TRANSLATORS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from landbridge.runtime.errors import UnsupportedError
from landbridge.runtime.vendors.atlas.format import GEAR_INPUT, OUTPUT_TYPE
from landbridge.simulators.ascend.make_om_file import Description, Port, write_om
from landbridge.simulators.ascend.make_om_fold import fold_batch_normalization
from landbridge.simulators.ascend.make_om_graph import Attribute, Graph, Tensor
from landbridge.simulators.ascend.make_om_onnx import Prepared, explain_missing_shape, prepare, read_model
from landbridge.simulators.ascend.make_om_operators import FLOATS, GE_CODES, TRANSLATORS, Call, Translation

BORDER_DTYPES = ("float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool")
"""What an input or output may be."""


def make_om(
    model: Any,
    *,
    gears: Sequence[int] = (),
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
        name: of the model in the file, cut to 31 bytes in its header.
        soc: the chip it says it is for.
        fp16: compute floating types in float16; otherwise each in its own.
        input_dtype: of all inputs that are of a floating type in ``model``; None leaves them as they are.
        output_dtype: the same for outputs.
        tiny: write the form of 2020: version 1, 32-bit partition table, no MODEL_INOUT_INFO.

    Raises:
        ModelError: not a valid model, or one whose shapes are not known.
        UnsupportedError: operators that cannot be translated, all of them, each with its node's name and the reason.

    Example:
        >>> from onnx import parser
        >>> text = '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 4] x) => (float[n, 4] y) { y = Relu(x) }'
        >>> make_om(parser.parse_model(text), gears=(1, 8))[:4]
        b'IMOD'
    """
    proto = read_model(model)
    prepared = fold_batch_normalization(prepare(proto, gears))
    prepared = _with_borders(prepared, input_dtype)
    _check_translatable(prepared)
    _check_shapes(prepared, proto)
    maker = _Maker(prepared, fp16=fp16)
    maker.add_inputs()
    maker.translate()
    outputs, rows = maker.add_outputs(output_dtype)
    return write_om(maker.graph, Description(name, soc, tuple(maker.inputs), outputs, prepared.gears, rows), tiny=tiny)


def _with_borders(model: Prepared, input_dtype: str | None) -> Prepared:
    """Return ``model`` with the types of its inputs as they are to be in the file, checked."""
    inputs = tuple(replace(value, dtype=input_dtype) if input_dtype and value.dtype in FLOATS else value for value in model.inputs)
    for value in inputs:
        _check_border("input", value.name, value.dtype)
    return replace(model, inputs=inputs)


def _check_border(kind: str, name: str, dtype: str) -> None:
    if dtype not in BORDER_DTYPES:
        raise UnsupportedError(f"{kind} '{name}' is {dtype}, expected one of {', '.join(BORDER_DTYPES)}", hint=f"give {kind}_dtype")


def _check_translatable(model: Prepared) -> None:
    strange = [
        f"{node.name or node.output[0]} ({node.domain + '.' if node.domain else ''}{node.op_type})"
        for node in model.nodes
        if node.domain not in ("", "ai.onnx") or node.op_type not in TRANSLATORS
    ]
    if strange:
        raise UnsupportedError(
            f"operators that cannot be translated: {', '.join(strange)}", at=model.name, hint=f"known are {', '.join(TRANSLATORS)}"
        )


def _check_shapes(model: Prepared, proto: Any) -> None:
    for node in model.nodes:
        for name in filter(None, (*node.input, *node.output)):
            if name not in model.constants and any(name not in shapes for shapes in model.shapes):
                raise explain_missing_shape(proto, name)


class _Maker:
    """Builds the graph: inputs, operators, outputs."""

    def __init__(self, model: Prepared, *, fp16: bool) -> None:
        self.model = model
        self.graph = Graph()
        self.inputs: list[Port] = []
        self.state = Translation(model, self.graph, {}, fp16)

    def add_inputs(self) -> None:
        """Add a Data for each input, a Cast where its type is not the one computed in, and what chooses the gear."""
        for value in self.model.inputs:
            dims = tuple(-1 if extent is None else extent for extent in value.shape)
            shape = tuple(self.model.gears[-1] if extent is None else extent for extent in value.shape)
            attributes: dict[str, Attribute] = {"_mbatch_origin_input_dims": dims} if -1 in dims else {}
            tensor = self._add_data(value.name, value.dtype, shape, dims, attributes)
            dtype = self.state.dtype(value.name)
            self.state.tensors[value.name] = self._cast(tensor, dtype, f"{value.name}_{dtype}")
        if self.model.gears:
            chooser = self._add_data(GEAR_INPUT, "int64", (1,), (1,), {"mbatch-inserted-node": True})
            choices: dict[str, Attribute] = {f"_pred_value_{index}": [gear] for index, gear in enumerate(self.model.gears)}
            kinds: dict[str, Attribute] = {"_dynamic_type": 1, "mbatch_dynamic_type": 1}
            self.graph.add("Case", "mbatch_case", [chooser], [], {"_batch_num": len(choices), **kinds, **choices})

    def _add_data(self, name: str, dtype: str, shape: tuple[int, ...], dims: tuple[int, ...], attributes: dict[str, Attribute]) -> Tensor:
        op = self.graph.add("Data", name, [], [(dtype, shape)], {"index": len(self.inputs), **attributes})
        self.inputs.append(Port(name, op.outputs[0], dims))
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
                    self.state.tensors[name] = Tensor(name, 0, self.state.dtype(name), self.model.shapes[-1][name])
        if refused:
            raise UnsupportedError(f"nodes that cannot be translated: {'; '.join(refused)}", at=self.model.name)

    def add_outputs(self, output_dtype: str | None) -> tuple[tuple[Port, ...], tuple[str, ...]]:
        """Add the Casts and the NetOutput; return the outputs and their shapes in each gear."""
        ports, rows = [], []
        for index, name in enumerate(self.model.outputs):
            own = self.model.dtypes[name]
            dtype = output_dtype if output_dtype and own in FLOATS else own
            _check_border("output", name, dtype)
            made = self.state.tensor(name)
            tensor = self._cast(made, dtype, f"{name}_{dtype}")
            ports.append(Port(f"{made.op}:{made.index}:{name}", tensor, tensor.shape))
            shapes = self.model.shapes if self.model.gears else ()
            rows += [f"{gear},{index}," + ",".join(map(str, entry[name])) for gear, entry in enumerate(shapes)]
        attributes: dict[str, Attribute] = {"_dynamic_output_dims": rows} if rows else {}
        self.graph.add(OUTPUT_TYPE, "Node_Output", [port.tensor for port in ports], [], attributes)
        return tuple(ports), tuple(rows)
