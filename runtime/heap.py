"""Memory that a driver gives: kept account of, given back after nobody refers to it any more, and kept for the next who wants as much.

Nothing is lost when an interrupt arrives between two lines: what a driver gave is stored where it was asked for, and taken out where it is
given back.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from landbridge.runtime.errors import DeviceError
from landbridge.runtime.plan import ALIGNMENT

_LOG = logging.getLogger(__name__)

_SPARE = 4
"""How many free blocks of one size are kept for the next run, so that addresses, and calls prepared on them, come again."""


class Block:
    """Memory.

    Attributes:
        address: of its first byte, on the device that it is on.
        nbytes: how much may be used.
        owner: gives it back when it is collected.
    """

    __slots__ = ("address", "nbytes", "owner")

    def __init__(self, address: int, nbytes: int, owner: object) -> None:
        self.address = address
        self.nbytes = nbytes
        self.owner = owner


class Heap:
    """Memory of one kind on one device. Any method may be called from any thread."""

    def __init__(self, name: str, check: Callable[[], None], allocate: Callable[[int], int], free: Callable[[int], None]) -> None:
        """Own nothing yet.

        Args:
            name: of the device, for messages.
            check: raises when nothing is to be allocated any more.
            allocate: returns the address of fresh memory, aligned.
            free: gives it back.
        """
        self._name = name
        self._check = check
        self._allocate = allocate
        self._free = free
        self._live: dict[int, tuple[int, int]] = {}
        self._spare: dict[int, list[int]] = {}
        self._returned: deque[int] = deque()
        self._lock = threading.Lock()

    def allocate(self, nbytes: int) -> Block:
        """Return memory, perhaps memory that was given back; its contents are arbitrary.

        Raises:
            DeviceError: there is none left.
            SessionClosed: the device is closed.
        """
        size = max(-(-nbytes // ALIGNMENT) * ALIGNMENT, ALIGNMENT)
        with self._lock:
            self._check()
            self._take_back()
            spare = self._spare.get(size)
            address: int
            self._live[address] = (address := spare.pop() if spare else self._fresh(size), size)
        return Block(address, size, _Lease(self._returned, address))

    def _fresh(self, size: int) -> int:
        try:
            return self._allocate(size)
        except DeviceError:
            if not any(self._spare.values()):
                raise
        self._free_spare()
        return self._allocate(size)

    def _take_back(self) -> None:
        """Make spare or free what was collected."""
        while self._returned:
            address = self._returned.popleft()
            size = self._live[address][1]
            spare = self._spare.setdefault(size, [])
            if len(spare) < _SPARE:
                spare.append(self._live.pop(address)[0])
            else:
                self._free(self._live.pop(address)[0])

    def _free_spare(self) -> None:
        for addresses in list(self._spare.values()):
            while addresses:
                self._free(addresses.pop())
        self._spare.clear()

    def close(self) -> None:
        """Free everything, what others still refer to included. Idempotent; what cannot be freed is logged."""
        with self._lock:
            while self._live:
                self._give_back(lambda: self._live.popitem()[0])
            for addresses in self._spare.values():
                while addresses:
                    self._give_back(addresses.pop)

    def _give_back(self, take: Callable[[], int]) -> None:
        """Free the address that ``take`` takes out of where it is noted."""
        try:
            self._free(take())
        except DeviceError as error:
            _LOG.warning("%s: memory cannot be given back: %s", self._name, error)


class _Lease:
    """Tells its heap when a block is collected. No more than that: it may happen at any time, also while the vendor holds a lock."""

    __slots__ = ("_address", "_returned")

    def __init__(self, returned: deque[int], address: int) -> None:
        self._address, self._returned = address, returned

    def __del__(self) -> None:
        if hasattr(self, "_returned"):  # else an interrupt came between its creation and its initialisation
            self._returned.append(self._address)
