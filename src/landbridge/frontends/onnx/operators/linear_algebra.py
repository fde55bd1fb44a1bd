"""Determinants, products of matrices as old operator sets have them, and normalisation by norms and by statistics of the batch."""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx
from tvm.script.ir_builder import tirx as ib

from landbridge.frontends.onnx.operators.call import Call, Declined, Rule, constant, product
from landbridge.frontends.onnx.operators.loops import loops, variable, when


def _det(call: Call) -> Any:
    """``Det`` of each matrix, by elimination with the largest pivot of each column."""
    shape, dtype = call.shape(0), call.dtype(0)
    word, n = "float64" if dtype == "float64" else "float32", shape[-1]
    if not isinstance(n, int):
        raise Declined("matrices of open size")
    count = product(shape[:-2])

    def kernel(data: Any) -> Any:
        def body(source: Any, result: Any, rows: Any) -> None:
            with ib.serial(0, count) as matrix:
                with ib.serial(0, n * n) as i:
                    rows[i] = source[matrix * n * n + i].astype(word)
                value = variable(word, tirx.const(1, word))
                with ib.serial(0, n) as column:
                    _eliminate(rows, n, column, value, word)
                result[matrix] = value[0].astype(dtype)

        return loops("determinant", [data], [([count], dtype), ([n * n], word)], body)

    flat = call.emit(relax.op.reshape(call.tensor(0), [count * n * n]))
    pair = call.compute(kernel, flat, name="determinant")
    return relax.op.reshape(call.emit(relax.TupleGetItem(pair, 0)), shape[:-2])


def _eliminate(rows: Any, n: int, column: Any, value: Any, word: str) -> None:
    """Emit one step: the pivot's row goes up, the rows below lose their element in the column, ``value`` gets the pivot."""
    best = variable("int64", column)
    with ib.serial(0, n) as row:
        larger = tirx.abs(rows[row * n + column]) > tirx.abs(rows[best[0] * n + column])
        with ib.If(tirx.all(row > column, larger)), ib.Then():
            best[0] = row

    def swap() -> None:
        with ib.serial(0, n) as i:
            kept = variable(word, rows[column * n + i])
            rows[column * n + i] = rows[best[0] * n + i]
            rows[best[0] * n + i] = kept[0]
        value[0] = -value[0]

    when(best[0] != column, swap)
    pivot = variable(word, rows[column * n + column])
    value[0] = value[0] * pivot[0]
    with ib.serial(0, n) as row, ib.If(tirx.all(row > column, pivot[0] != 0)), ib.Then():
        factor = variable(word, rows[row * n + column] / pivot[0])
        with ib.serial(0, n) as i:
            rows[row * n + i] = rows[row * n + i] - factor[0] * rows[column * n + i]


def _gemm(call: Call) -> Any:
    """``Gemm`` as operator set 6 and before has it; the importer has the later ones."""
    if call.opset >= 7 or not call.number("broadcast", 0):
        return NotImplemented
    dtype = call.dtype(0)

    def matrix(index: int, attribute: str) -> Any:
        tensor = call.tensor(index)
        return call.emit(relax.op.permute_dims(tensor, [1, 0])) if call.number(attribute, 0) else tensor

    made = call.emit(relax.op.matmul(matrix(0, "transA"), matrix(1, "transB")))
    made = call.emit(relax.op.multiply(made, constant(call.real("alpha", 1.0), dtype)))
    more = call.emit(relax.op.multiply(call.tensor(2), constant(call.real("beta", 1.0), dtype)))
    return relax.op.add(made, more)


def _lp_normalization(call: Call) -> Any:
    """``LpNormalization``: what has the norm 0 stays 0."""
    dtype, axis = call.dtype(0), call.axis("axis", -1, len(call.shape(0)))
    word = "float32" if dtype == "float16" else dtype
    data = call.emit(relax.op.astype(call.tensor(0), word)) if word != dtype else call.tensor(0)
    if call.number("p", 2) == 1:
        norm = call.emit(relax.op.sum(call.emit(relax.op.abs(data)), axis=[axis], keepdims=True))
    else:
        norm = call.emit(relax.op.sqrt(call.emit(relax.op.sum(call.emit(relax.op.multiply(data, data)), axis=[axis], keepdims=True))))
    one = constant(1, word)
    by = call.emit(relax.op.where(call.emit(relax.op.equal(norm, constant(0, word))), one, norm))
    result = call.emit(relax.op.divide(data, by))
    return relax.op.astype(result, dtype) if word != dtype else result


def _batch_normalization(call: Call) -> Any:
    """``BatchNormalization`` in training: by the mean and the variance of the batch, which move the running ones."""
    if not call.number("training_mode", 0) or call.opset < 14:
        return NotImplemented
    rank, dtype = len(call.shape(0)), call.dtype(0)
    if any(call.dtype(index) != dtype for index in range(1, 5)):
        raise Declined("statistics of another type than the data")
    along, momentum = [0, *range(2, rank)], call.real("momentum", 0.9)
    data, scale, bias = (call.tensor(index) for index in range(3))
    mean, variance = call.emit(relax.op.mean(data, along)), call.emit(relax.op.variance(data, along))

    def lifted(tensor: Any) -> Any:
        return call.emit(relax.op.reshape(tensor, [-1, *[1] * (rank - 2)]))

    def moved(old: Any, new: Any) -> Any:
        kept = call.emit(relax.op.multiply(old, constant(momentum, dtype)))
        return call.emit(relax.op.add(kept, call.emit(relax.op.multiply(new, constant(1 - momentum, dtype)))))

    spread = call.emit(relax.op.sqrt(call.emit(relax.op.add(variance, constant(call.real("epsilon", 1e-5), dtype)))))
    centred = call.emit(relax.op.subtract(data, lifted(mean)))
    scaled = call.emit(relax.op.multiply(call.emit(relax.op.divide(centred, lifted(spread))), lifted(scale)))
    result = call.emit(relax.op.add(scaled, lifted(bias)))
    return [result, moved(call.tensor(3), mean), moved(call.tensor(4), variance)]


OPERATORS: dict[str, Rule] = {
    "BatchNormalization": _batch_normalization,
    "Det": _det,
    "Gemm": _gemm,
    "LpNormalization": _lp_normalization,
}
