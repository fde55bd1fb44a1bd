"""Instructions that add up products of small numbers, a few of them in each lane of a vector of 32-bit sums.

None of those for integers that are used here rounds or saturates: sums are right modulo 2 ** 32, as those of 32-bit products are. (The one
that is left out for it is ``vpmaddubsw``, which adds two products of bytes into 16 bits.)

Those for bfloat16 have float32 sums. ``vpdpbf16ps`` rounds after each product, to the nearest, ties to even; ``bfdot`` adds a pair of
products, and that to the sum, and rounds both times to odd, unless the system has turned on Arm's extended arithmetic for it: twice the
error at most. Both take numbers below 2 ** -126 for zero, those that come in and those that come out. With ``u`` of 2 ** -24 (x86) or
2 ** -23 (Arm), a sum of n products x w is right within

    n u / (1 - n u) sum |x w|  +  2 ** -126 (2 n + sum |x| + sum |w|)

which is the bound of any order of rounded additions, and what is taken for zero. Infinities and NaN are those of float32.

That for float16 adds exact products to float32 sums, and rounds each once: the bound has a ``u`` of 2 ** -24 and nothing else. (Arm and x86
also add in float16, where a sum stops growing once a term is less than half a unit in its last place; that is not used.)

Sources: "Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2 (``VPDPBUSD``, ``PMADDWD``, ``VDPBF16PS``);
"Arm Architecture Reference Manual for A-profile" (``SDOT``, ``FMLAL``, ``BFDOT``, the pseudocode ``BFDotAdd``);
N. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.target import codegen as llvm

from landbridge.codegen.schedules.vectors import Vectors, vectors_of

DOTS = "landbridge.dots"
"""Annotation of the block of a sum of `dot` of two words: for which data, the name of its type."""

_SEEN = {"bfloat16": "uint16"}
"""Types of numbers that kernels see as others: as their bits."""

_LLVM_WITH_BYTES = 22
"""From this version on LLVM's ``vpdpbusd`` takes vectors of bytes; before, of the words that they are in."""


BFLOAT16_PAIR = "landbridge_bfloat16_pair"
"""The function, of sums and two vectors of words, that `Dots.code` defines."""


@dataclass(frozen=True)
class Dots:
    """How a target adds up products of small numbers.

    Attributes:
        group: how many products go into a sum at a time: as many numbers as are in a word of 32 bits.
        data: the type of one factor.
        weight: the type of the other.
        vectors: the registers; their lanes are sums.
        intrinsic: what LLVM calls the instruction, or "" where there is no special one.
        sums: the type of the sums.
    """

    group: int
    data: str
    weight: str
    vectors: Vectors
    intrinsic: str = ""
    sums: str = "int32"

    @property
    def element(self) -> str:
        """The type as which kernels see a number of data."""
        return _SEEN.get(self.data, self.data)

    @property
    def code(self) -> str:
        """What a kernel needs in LLVM's language: TVM itself makes float32 of all bfloat16, also of what an instruction is to get."""
        if self.data != "bfloat16" or not self.intrinsic:
            return ""
        words, sums, pairs = (
            f"<{n} x {of}>" for n, of in ((self.vectors.lanes, "i32"), (self.vectors.lanes, "float"), (2 * self.vectors.lanes, "bfloat"))
        )
        return f"""
            declare {sums} @{self.intrinsic}({sums}, {pairs}, {pairs})
            define {sums} @{BFLOAT16_PAIR}({sums} %sums, {words} %data, {words} %weight) {{
              %left = bitcast {words} %data to {pairs}
              %right = bitcast {words} %weight to {pairs}
              %added = call {sums} @{self.intrinsic}({sums} %sums, {pairs} %left, {pairs} %right)
              ret {sums} %added
            }}
        """

    def add(self, sums: Any, data: Any, weight: Any) -> Any:
        """Return the sums with the products of vectors of words added."""
        lanes = self.vectors.lanes
        if self.code:
            return tirx.call_pure_extern(f"float32x{lanes}", BFLOAT16_PAIR, sums, data, weight)
        if self.data == "float16":
            # The instruction takes half of a register: the other half of one that was loaded from memory is zero anyway.
            zeros = tirx.Broadcast(tirx.const(0, "float16"), lanes)
            numbers = tirx.Shuffle([weight, zeros], [tirx.const(index, "int32") for index in range(2 * lanes)])
            return tirx.call_llvm_pure_intrin(f"float32x{lanes}", self.intrinsic, sums, tirx.Broadcast(data.value, 2 * lanes), numbers)
        if not self.intrinsic:
            for index in range(self.group):
                sums = sums + _number(data, index, self.data) * _number(weight, index, self.data)
            return sums
        if self.group == 2:
            pairs = f"int16x{2 * lanes}"
            return sums + _call(self.intrinsic, lanes, tirx.reinterpret(pairs, data), tirx.reinterpret(pairs, weight))
        if self.data == "int8" or int(llvm.llvm_version_major()) >= _LLVM_WITH_BYTES:
            numbers = f"int8x{4 * lanes}"
            data, weight = tirx.reinterpret(numbers, data), tirx.reinterpret(numbers, weight)
        return _call(self.intrinsic, lanes, sums, data, weight)


def _call(intrinsic: str, lanes: int, *arguments: Any) -> Any:
    return tirx.call_llvm_pure_intrin(f"int32x{lanes}", intrinsic, *arguments)


def dots_of(target: Any) -> Dots:
    """Return what a TVM target has for integers."""
    features = {str(feature) for feature in llvm.llvm_get_cpu_features(target)}
    vectors = vectors_of(target)
    bits = 32 * vectors.lanes
    if ("avx512vnni" in features and bits == 512) or ("avxvnni" in features and bits == 256):
        return Dots(4, "uint8", "int8", vectors, f"llvm.x86.avx512.vpdpbusd.{bits}")
    if "avx512bw" in features and bits == 512:
        return Dots(2, "int16", "int16", vectors, "llvm.x86.avx512.pmaddw.d.512")
    if "avx2" in features and bits == 256:
        return Dots(2, "int16", "int16", vectors, "llvm.x86.avx2.pmadd.wd")
    if "sse2" in features and bits == 128:
        return Dots(2, "int16", "int16", vectors, "llvm.x86.sse2.pmadd.wd")
    if "dotprod" in features and bits == 128:
        return Dots(4, "int8", "int8", vectors, "llvm.aarch64.neon.sdot.v4i32.v16i8")
    return Dots(1, "int32", "int32", vectors)


def bfloat16_dots_of(target: Any) -> Dots | None:
    """Return what a TVM target has for numbers of bfloat16, or None where it has no instruction for them."""
    features = {str(feature) for feature in llvm.llvm_get_cpu_features(target)}
    vectors = vectors_of(target)
    bits = 32 * vectors.lanes
    if "avx512bf16" in features and bits == 512:
        return Dots(2, "bfloat16", "bfloat16", vectors, f"llvm.x86.avx512bf16.dpbf16ps.{bits}", "float32")
    if "bf16" in features and "neon" in features:
        return Dots(2, "bfloat16", "bfloat16", vectors, "llvm.aarch64.neon.bfdot.v4f32.v8bf16", "float32")
    return None


def float16_dots_of(target: Any) -> Dots | None:
    """Return what a TVM target has for numbers of float16, or None where it has no instruction that adds their products to float32."""
    features = {str(feature) for feature in llvm.llvm_get_cpu_features(target)}
    if "fp16fml" in features and "neon" in features:
        return Dots(1, "float16", "float16", vectors_of(target), "llvm.aarch64.neon.fmlal.v4f32.v8f16", "float32")
    return None


def dot(data: Any, weight: Any, of: str) -> Any:
    """Return the sum of products of the numbers in two words.

    Args:
        of: the type of the numbers of the first: those of the second have the same without its ``u``.
    """
    total = None
    for index in range(per_word(of)):
        product = _number(data, index, of) * _number(weight, index, of.removeprefix("u"))
        total = product if total is None else total + product
    return total


def word(numbers: list[Any], of: str) -> Any:
    """Return the word that numbers of type ``of`` are in, the first in the lowest bits; those of bfloat16 are given as their bits."""
    bits = 32 // per_word(of)
    if bits == 32:
        return numbers[0].astype("int32")
    total = None
    for index, number in enumerate(numbers):
        part = number.astype(f"uint{bits}").astype("int32") << tirx.const(index * bits, "int32")
        total = part if total is None else total | part
    return total


def per_word(of: str) -> int:
    """Return how many numbers of a type are in a word."""
    return {"uint8": 4, "int8": 4, "int16": 2, "bfloat16": 2, "int32": 1}[of]


def _number(word: Any, index: int, of: str) -> Any:
    bits = 32 // per_word(of)
    if of == "bfloat16":
        lanes = str(word.ty.dtype).removeprefix("int32")
        high = word << tirx.const(bits, "int32") if index == 0 else word & tirx.const(-1 << bits, "int32")
        return tirx.reinterpret(f"float32{lanes}", high)
    if bits == 32:
        return word
    raised = word << tirx.const(32 - (index + 1) * bits, "int32") if (index + 1) * bits < 32 else word
    if of.startswith("u"):
        return (word >> tirx.const(index * bits, "int32")) & tirx.const((1 << bits) - 1, "int32")
    return raised >> tirx.const(32 - bits, "int32")
