"""ONNX models run on the CPU by ONNX Runtime: what the compiler cannot take falls back to this."""

from landbridge.runtime.vendors.onnxruntime.vendor import OnnxruntimeVendor

__all__ = ["OnnxruntimeVendor"]
