"""The Ascend simulator: a ``libascendcl`` that executes offline models on the CPU, from the graph and weights in the file.

Beside the interface of ACL it exports ``int64_t sim_live(const char *kind)`` (live handles; "bytes" is device memory in use),
``void sim_reset(void)`` (back to the state before ``aclInit``), ``int sim_fault(const char *function, int k, const char *mode)`` (do
something to the k-th call from now; ``common/control.c`` has the modes: failures that pass, last, or lose the device, lack of memory,
hangs until ``void sim_release(void)``, delays, wrong answers, writing nothing or too much), and ``int sim_speed(const char *what, double
latency_s, double bytes_per_s)`` (how long "copy in", "copy out" and "execute" take).

``const char *sim_misuse(void)`` tells the first rule of the interface that its caller broke since it was asked last: the simulator is
always strict, and says with an error what a device may answer with damage.

Environment, read by ``aclInit``: ``LANDBRIDGE_SIM_ATLAS_MEMORY``
(bytes per device, with an optional K, M or G) and ``LANDBRIDGE_SIM_ATLAS_SOC`` (the name of the chip).
"""

from __future__ import annotations

from pathlib import Path

from landbridge.simulators import common
from landbridge.simulators.build import build_library


def library() -> Path:
    """Return the path of the built library.

    Raises:
        DeviceError: there is no C compiler, or it failed.
    """
    return build_library("libascendcl.so", Path(__file__).parent, common.sources())
