"""IREE: compiled modules (.vmfb), run on the CPU by the ``iree-base-runtime`` package."""

from landbridge.runtime.vendors.iree.vendor import IreeVendor

__all__ = ["IreeVendor"]
