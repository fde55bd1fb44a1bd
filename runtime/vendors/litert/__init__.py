"""LiteRT: flatbuffer models (.tflite), run on the CPU by the ``ai-edge-litert`` package."""

from landbridge.runtime.vendors.litert.vendor import LitertVendor

__all__ = ["LitertVendor"]
