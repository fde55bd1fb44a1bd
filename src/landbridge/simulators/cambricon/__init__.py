"""The Cambricon simulator: a ``libcnrt`` that executes simulated offline models on the CPU.

The format of real Cambricon models is not public, so that it runs only those that `make_cambricon` makes: they have their graph in
them, and say that they are simulated. The operators are those of the Ascend simulator.

Beside the interface of CNRT 4 it exports ``int64_t sim_live(const char *kind)`` (live handles; "bytes" is device memory in use),
``void sim_reset(void)`` (back to the state before ``cnrtInit``), ``int sim_fault(const char *function, int k, const char *mode)`` (do
something to the k-th call from now; ``common/control.c`` has the modes: failures that pass, last, or lose the device, lack of memory,
hangs until ``void sim_release(void)``, delays, wrong answers, writing nothing or too much), and ``int sim_speed(const char *what, double
latency_s, double bytes_per_s)`` (how long "copy in", "copy out" and "execute" take).

Environment, read by ``cnrtInit``:
``LANDBRIDGE_SIM_CAMBRICON_MEMORY`` (bytes per device, with an optional K, M or G), ``LANDBRIDGE_SIM_CAMBRICON_CORE`` (MLU270, MLU220 or
MLU290) and ``LANDBRIDGE_SIM_CAMBRICON_VERSION`` (of the library, such as 4.3.0; 4.10.4 unless it is given).
"""

from __future__ import annotations

from pathlib import Path

from landbridge.simulators import common
from landbridge.simulators.build import build_library

_OPERATORS = (
    "aipp",
    "graph",
    "interface",
    "layout",
    "om",
    "ops_aipp",
    "ops_conv",
    "ops_math",
    "ops_matmul",
    "ops_pool",
    "ops_shape",
    "proto",
    "tensor",
)
"""What of the Ascend simulator executes graphs."""


def library() -> Path:
    """Return the path of the built library.

    Raises:
        DeviceError: there is no C compiler, or it failed.
    """
    folder = Path(__file__).parent
    operators = [folder.parent / "ascend" / f"{name}.c" for name in _OPERATORS]
    return build_library("libcnrt.so", folder, [*common.sources(), *operators])
