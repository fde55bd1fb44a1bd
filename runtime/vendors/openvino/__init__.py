"""OpenVINO: models exported by its CPU plugin, run in the host's own memory."""

from landbridge.runtime.vendors.openvino.vendor import OpenvinoVendor

__all__ = ["OpenvinoVendor"]
