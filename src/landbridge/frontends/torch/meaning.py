"""What PyTorch makes of an exported program, value by value: native code is compared with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from landbridge.frontends.torch.installed import pytorch, to_array, to_tensor
from landbridge.frontends.torch.operator import OPERATOR, known
from landbridge.runtime.device import CPU

Array = NDArray[Any]

_TARGET = f"{OPERATOR.replace('::', '.')}.default"
"""How PyTorch writes the operator that is an offline model."""


@dataclass(frozen=True)
class Meaning:
    """A decomposed exported program, to be run by PyTorch.

    Offline models on devices are not run: what they give is made up, and the native code gets the same.

    Attributes:
        program: the `torch.export.ExportedProgram`.
        examples: the inputs that it was exported with, or None.
        outputs: the node of each output of the program, by the user's name.
        names: the nodes that are values of the program.
        by: who computes.
    """

    program: Any
    examples: Any
    outputs: Mapping[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    by: str = "PyTorch"

    def __repr__(self) -> str:
        return "Meaning(a program that torch.export made)"

    def of(self, outputs: Mapping[str, str], names: frozenset[str]) -> Meaning:
        """Return this with the names that the values have in a program."""
        return replace(self, outputs=dict(outputs), names=names)

    def inputs(self) -> Iterator[dict[str, Array]]:
        """Yield the example inputs, where they were kept."""
        torch = pytorch("lb.from_torch")
        if self.examples is None:
            return
        leaves = torch.utils._pytree.tree_leaves(self.examples)
        names = self.program.graph_signature.user_inputs
        if len(leaves) == len(names) and all(isinstance(leaf, torch.Tensor) for leaf in leaves):
            yield {name: to_array(leaf) for name, leaf in zip(names, leaves, strict=True)}

    def run(self, feed: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
        """Return values by name for some inputs; any exception of PyTorch may come out."""
        torch = pytorch("lb.from_torch")
        nodes = {self.outputs.get(name, name): name for name in wanted}
        found: dict[str, Array] = {}

        class Run(torch.fx.Interpreter):  # type: ignore[misc, name-defined]  # torch has no types here
            def run_node(self, node: Any) -> Any:
                away = str(node.target) == _TARGET and known(node.args[1]).device != CPU
                result = _made_up(*self.fetch_args_kwargs_from_env(node)[0]) if away else super().run_node(node)
                if node.name in nodes:
                    tensor = result[0] if isinstance(result, list | tuple) else result
                    found[nodes[node.name]] = to_array(tensor)
                return result

        with torch.no_grad():
            Run(self.program.graph_module).run(*self._arguments(feed))
        same = {name: found[nodes[node]] for name, node in self.outputs.items() if nodes.get(node) in found}
        return {**found, **same}

    def _arguments(self, feed: Mapping[str, Array]) -> list[Any]:
        """Return what the graph takes: parameters, buffers, constants and inputs."""
        program = self.program
        kept = {**program.constants, **dict(program.named_buffers()), **dict(program.named_parameters())}
        dtypes = {node.name: node.meta["val"].dtype for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta}
        found = []
        for spec in program.graph_signature.input_specs:
            if spec.kind.name == "USER_INPUT":
                found.append(to_tensor(feed[spec.arg.name], str(dtypes[spec.arg.name]).removeprefix("torch.")))
            else:
                found.append(kept[spec.target])
        return found


def _made_up(inputs: Any, key: str) -> list[Any]:
    """Return made-up outputs of an offline model: the same for the same shapes."""
    torch = pytorch("lb.from_torch")
    model = known(key)
    generator = torch.Generator().manual_seed(0)
    made = []
    for port, shape in zip(model.model.signature.outputs, model.shapes([tensor.shape for tensor in inputs]), strict=True):
        dtype = getattr(torch, port.dtype)
        floating = dtype.is_floating_point
        values = torch.randn(shape, generator=generator) if floating else torch.randint(0, 2, shape, generator=generator)
        made.append(values.to(dtype))
    return made
