"""Devices in Relax types."""

from __future__ import annotations

import pytest
import tvm
from tvm import relax

from landbridge.ir.devices import VDevices, device_of, from_vdevice, on_vdevice, same_vdevice, tensor_types
from landbridge.runtime.device import CPU, Device

TENSOR = relax.TensorType((2, 3), "float32")
DEVICES = [CPU, Device("gpu"), Device("gpu", 1), Device("atlas"), Device("openvino")]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_device_survives_the_way_through_a_type(device: Device) -> None:
    assert device_of(VDevices().on(TENSOR, device)) == device


def test_a_device_is_always_the_same_object() -> None:
    vdevices = VDevices()
    assert same_vdevice(vdevices.get(Device("gpu")), vdevices.get(Device("gpu")))
    assert not same_vdevice(vdevices.get(Device("gpu")), vdevices.get(Device("gpu", 1)))
    assert not same_vdevice(vdevices.get(CPU), VDevices().get(CPU))


def test_a_module_lists_its_devices_in_the_order_of_their_names() -> None:
    vdevices = VDevices()
    for device in reversed(DEVICES):
        vdevices.get(device)
    module = vdevices.listed_in(tvm.IRModule())
    assert [str(from_vdevice(vdevice)) for vdevice in module.global_infos["vdevice"]] == ["atlas0", "cpu", "gpu0", "gpu1", "openvino0"]


def test_the_objects_of_a_module_are_used_again() -> None:
    first = VDevices()
    first.get(Device("gpu"))
    module = first.listed_in(tvm.IRModule())
    assert same_vdevice(VDevices(module).get(Device("gpu")), module.global_infos["vdevice"][0])


def test_a_tuple_is_where_its_tensors_are() -> None:
    vdevices = VDevices()
    here, there = vdevices.on(TENSOR, CPU), vdevices.on(TENSOR, Device("gpu"))
    assert device_of(tvm.ir.TupleType([here, tvm.ir.TupleType([here])])) == CPU
    assert device_of(tvm.ir.TupleType([here, there])) is None
    assert device_of(tvm.ir.TupleType([here, TENSOR])) is None
    assert device_of(tvm.ir.TupleType([])) is None


def test_types_without_a_device_have_none() -> None:
    assert device_of(TENSOR) is None
    assert device_of(relax.ShapeType([1, 2])) is None
    assert device_of(relax.Var("x", TENSOR)) is None


def test_a_type_of_unknown_shape_gets_a_device_too() -> None:
    moved = VDevices().on(relax.TensorType(dtype="float16", ndim=2), Device("gpu"))
    assert (device_of(moved), moved.ndim, str(moved.dtype)) == (Device("gpu"), 2, "float16")


def test_a_device_can_be_taken_away() -> None:
    located = VDevices().on(TENSOR, CPU)
    tvm.ir.assert_structural_equal(on_vdevice(located, None), TENSOR)


def test_tensors_in_a_type_are_found_in_order() -> None:
    other = relax.TensorType((1,), "int8")
    nested = tvm.ir.TupleType([TENSOR, tvm.ir.TupleType([other, TENSOR])])
    assert [str(found.dtype) for found in tensor_types(nested)] == ["float32", "int8", "float32"]
