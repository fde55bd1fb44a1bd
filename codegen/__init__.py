"""From a placed program to an artifact: host library, constants, offline models, and the plan that ties them together.

The way of the data, one file a step: `graph` reads the program, `schedule_steps` orders it, `lower` turns host operators into
kernels, `schedules` makes these fast, `compile_kernels` compiles what was not compiled before, `plan_memory` places the buffers and
`check_plan` proves the places right, `emit` and `link` make the host library, and `build` puts it all together.
"""

from landbridge.codegen.build import build
from landbridge.codegen.lower import unlowerable
from landbridge.codegen.target import HostTarget, resolve_target
from landbridge.codegen.trial import host_operators, try_operators

__all__ = ["build", "host_operators", "try_operators", "unlowerable", "HostTarget", "resolve_target"]
