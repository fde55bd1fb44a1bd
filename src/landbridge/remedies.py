"""What a user could change so that a value need not cross, or need not be converted: told only where a rule knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landbridge.ir.body import Binding, Body, extern_symbol, is_constant, is_copy, is_extern, operands
from landbridge.ir.devices import device_of
from landbridge.ir.dtypes import bits_of
from landbridge.ir.images import aipp_does, image_chain
from landbridge.ir.sizes import dtype_of, shape_of
from landbridge.runtime.device import CPU
from landbridge.runtime.signature import Signature

_IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Remedies:
    """The rules, over one placed program.

    Attributes:
        body: of the program.
        producers: the binding of each value that is no input.
        users: of each value, the bindings that read it.
        externs: its offline models' entries, by symbol.
        name: what the user calls a value.
        onnx: the program came from an ONNX model, which cannot say where an input lives.
    """

    body: Body
    producers: Mapping[Any, Binding]
    users: Mapping[Any, Sequence[Binding]]
    externs: Mapping[str, Any]
    name: Callable[[Any], str]
    onnx: bool

    def crossing(self, copy: Binding) -> str:
        """Return what would spare a copy, or make it smaller; "" where no rule knows."""
        source, target = operands(copy.value)[0], copy.var
        return self._image(source, copy) or self._between(source, target) or self._bridge(source, target) or self._input(source, target)

    def cast(self, cast: Binding) -> str:
        """Return what would spare a conversion; "" where no rule knows."""
        forward, seen = [cast.var], {cast.var}
        while forward:
            value = forward.pop()
            for user in self.users.get(value, ()):
                if user.var in seen:
                    continue
                seen.add(user.var)
                if is_copy(user.value):
                    found = self._image(value, user, through=cast)
                    if found:
                        return found
                elif aipp_does(user.value):
                    forward.append(user.var)
        return ""

    def _image(self, source: Any, copy: Binding, through: Binding | None = None) -> str:
        """A picture that the CPU prepares for an Ascend model: the model can take the picture as it is."""
        model = self._plain_atlas_reader(copy.var)
        image, passed = image_chain(self.producers, source)
        shape = shape_of(image.ty) or ()
        picture = dtype_of(image.ty) == "uint8" and len(shape) == 4 and (shape[-1] in _IMAGE_CHANNELS or shape[1] in _IMAGE_CHANNELS)
        if model is None or not passed or image in self.producers or not picture or (through is not None and through not in passed):
            return ""
        fewer = bits_of(dtype_of(copy.var.ty)) // 8
        return f"re-make {model} with AIPP to feed '{self.name(image)}' as uint8: {fewer}x fewer bytes" if fewer > 1 else ""

    def _plain_atlas_reader(self, value: Any) -> str | None:
        """Return the name of the Ascend model that alone reads ``value``, and has no preprocessing of its own yet."""
        readers = self.users.get(value, ())
        if len(readers) != 1 or not is_extern(readers[0].value):
            return None
        entry = self.externs[extern_symbol(readers[0].value)]
        ports = Signature.from_json(entry["signature"]).inputs
        position = next(i for i, operand in enumerate(operands(readers[0].value)) if operand.same_as(value))
        return str(entry["name"]) if entry["vendor"] == "atlas" and ports[position].aipp is None else None

    def _between(self, source: Any, target: Any) -> str:
        """A value that leaves a device for operators whose result goes back there."""
        home = device_of(source) or CPU
        if home == CPU or source not in self.producers or not is_extern(self.producers[source].value):
            return ""
        maker = self.externs[extern_symbol(self.producers[source].value)]["name"]
        found: list[str] = []
        forward, seen = [target], set[Any]()
        while forward:
            value = forward.pop()
            for user in self.users.get(value, ()):
                if user.var in seen:
                    continue
                seen.add(user.var)
                if is_copy(user.value) and device_of(user.var) == home and not value.same_as(target):
                    readers = [self.externs[extern_symbol(b.value)]["name"] for b in self.users.get(user.var, ()) if is_extern(b.value)]
                    between = ", ".join(dict.fromkeys(found))
                    return f"one offline model in place of {', '.join([maker, *readers])}, with {between} in it, would keep it on {home}"
                if not is_copy(user.value) and not is_extern(user.value):
                    found.append(self.name(user.var))
                    forward.append(user.var)
        return ""

    def _bridge(self, source: Any, target: Any) -> str:
        """A value that one device makes and only another device reads."""
        home, readers = device_of(source) or CPU, self.users.get(target, ())
        if home == CPU or not readers or not all(is_copy(reader.value) for reader in readers):
            return ""
        if any(output.same_as(target) for output in self.body.outputs):
            return ""
        names = [self.externs[extern_symbol(b.value)]["name"] for r in readers for b in self.users.get(r.var, ()) if is_extern(b.value)]
        return f"{', '.join(dict.fromkeys(names))} compiled for {home.kind} would read it there" if names else ""

    def _input(self, source: Any, target: Any) -> str:
        """An input of a program from the module API, which can be declared on the device."""
        used_once = len(self.users.get(source, ())) == 1
        if self.onnx or source in self.producers or is_constant(source) or not used_once:
            return ""
        device = device_of(target)
        return f"declare '{self.name(source)}' with device=\"{device}\" and give it a tensor from session.to_device"
