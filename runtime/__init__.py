"""The lean runtime: opens an artifact and runs it. Imports the standard library and NumPy, nothing else.

Example:
    from landbridge import runtime

    with runtime.load("detector.lbr") as session:
        outputs = session.run({"image": image})
"""

from landbridge.runtime.device import Device
from landbridge.runtime.memory import DeviceTensor
from landbridge.runtime.session import Session, load

__all__ = ["load", "Session", "DeviceTensor", "Device"]
