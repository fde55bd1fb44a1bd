"""Which devices are linked (R3): a graph, not code.

The default is a star around the CPU. A route is a shortest path; where there are several, the one whose device names come
first, so that the same program always takes the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from landbridge.runtime.device import CPU, Device
from landbridge.runtime.errors import PlacementError, UsageError


@dataclass(frozen=True)
class Topology:
    """The links over which data may cross.

    Attributes:
        links: pairs of devices, each with its smaller name first; None is the star around the CPU.

    Example:
        >>> [str(device) for device in Topology().route(Device("gpu"), Device("atlas"))]
        ['gpu0', 'cpu', 'atlas0']
    """

    links: tuple[tuple[Device, Device], ...] | None = None

    @staticmethod
    def from_links(links: Iterable[tuple[str | Device, str | Device]]) -> Topology:
        """Return the topology with the links between the named devices.

        Raises:
            UsageError: a link is no pair, or names an unknown device.
            PlacementError: there is none, or a link does not touch the CPU: data crosses only between the CPU and one device.
        """
        pairs = set()
        for link in links:
            if isinstance(link, str) or len(link) != 2:
                raise UsageError(f"link {link!r}, expected a pair of devices", hint='such as ("cpu", "atlas0")', code="LB1113")
            left, right = link
            pair = sorted((Device.parse(left), Device.parse(right)))
            if CPU not in pair or pair[0] == pair[1]:
                raise PlacementError(
                    f"link {pair[0]} - {pair[1]} does not join the CPU and a device",
                    hint="devices are bridged over the CPU only",
                    code="LB2202",
                )
            pairs.add((pair[0], pair[1]))
        if not pairs:
            raise PlacementError("a topology without links", hint="leave it out for a star around the CPU", code="LB2202")
        return Topology(tuple(sorted(pairs)))

    def linked(self, left: Device, right: Device) -> bool:
        """Return whether data may cross between two devices directly."""
        if self.links is None:
            return left != right and (left.is_cpu or right.is_cpu)
        return (min(left, right), max(left, right)) in self.links

    def route(self, source: Device, destination: Device) -> tuple[Device, ...]:
        """Return the devices on the way, both ends included; one device where there is no way to go.

        Raises:
            PlacementError: no links lead there.
        """
        if source == destination:
            return (source,)
        if self.links is None:
            return (source, destination) if source.is_cpu or destination.is_cpu else (source, CPU, destination)
        graph = nx.Graph(self.links)
        if source not in graph or destination not in graph or not nx.has_path(graph, source, destination):
            names = ", ".join(f"{a} - {b}" for a, b in self.links)
            raise PlacementError(f"no way from {source} to {destination}", hint=f"links of this topology: {names or 'none'}", code="LB2202")
        return tuple(min(nx.all_shortest_paths(graph, source, destination)))

    def to_json(self) -> list[list[str]]:
        """Return the links by name; the star is an empty list."""
        return [[str(left), str(right)] for left, right in self.links or ()]

    @staticmethod
    def from_json(links: Iterable[Iterable[str]]) -> Topology:
        """Return the topology that `to_json` wrote."""
        pairs = [tuple(link) for link in links]
        return Topology.from_links([(str(a), str(b)) for a, b in pairs]) if pairs else Topology()
