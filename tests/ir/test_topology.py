"""Which devices are linked."""

from __future__ import annotations

from typing import Any

import pytest

from landbridge.ir.topology import Topology
from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import PlacementError, UsageError

GPU, ATLAS = Device("gpu"), Device("atlas")


def test_the_default_is_a_star_around_the_cpu() -> None:
    star = Topology()
    assert star.linked(CPU, GPU)
    assert star.linked(GPU, CPU)
    assert not star.linked(GPU, ATLAS)
    assert not star.linked(GPU, Device("gpu", 1))
    assert not star.linked(CPU, CPU)


def test_a_route_leads_over_the_cpu() -> None:
    for topology in (Topology(), Topology.from_links([("cpu", "gpu0"), ("atlas", "cpux")])):
        assert topology.route(GPU, ATLAS) == (GPU, CPU, ATLAS)
        assert topology.route(CPU, ATLAS) == (CPU, ATLAS)
        assert topology.route(GPU, GPU) == (GPU,)


def test_links_say_what_is_linked() -> None:
    topology = Topology.from_links([("gpu0", "cpu")])
    assert topology.linked(CPU, GPU)
    assert topology.linked(GPU, CPU)
    assert not topology.linked(CPU, ATLAS)


def test_where_no_links_lead_is_an_error_that_lists_them() -> None:
    with pytest.raises(PlacementError) as caught:
        Topology.from_links([("cpu", "gpu0")]).route(GPU, ATLAS)
    assert str(caught.value) == "no way from gpu0 to atlas0\n  hint: links of this topology: cpu - gpu0"


@pytest.mark.parametrize("link", [("gpu0", "atlas0"), ("cpu", "cpu")])
def test_a_link_joins_the_cpu_and_a_device(link: tuple[str, str]) -> None:
    with pytest.raises(PlacementError, match="does not join the CPU and a device"):
        Topology.from_links([link])


@pytest.mark.parametrize("link", ["cpu", ("cpu",), ("cpu", "gpu0", "atlas0")])
def test_a_link_is_a_pair(link: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Topology.from_links([link])
    assert str(caught.value) == f'link {link!r}, expected a pair of devices\n  hint: such as ("cpu", "atlas0")'


def test_a_topology_without_links_is_an_error() -> None:
    with pytest.raises(PlacementError, match="a topology without links"):
        Topology.from_links([])


@pytest.mark.parametrize("topology", [Topology(), Topology.from_links([("gpu1", "cpu"), ("cpu", "atlas0"), ("cpu", "gpu1")])])
def test_it_survives_json(topology: Topology) -> None:
    assert Topology.from_json(topology.to_json()) == topology


def test_the_order_and_direction_of_links_do_not_matter() -> None:
    assert Topology.from_links([("cpu", "gpu0"), ("atlas0", "cpu")]) == Topology.from_links([("cpu", "atlas0"), ("gpu0", "cpu")])
