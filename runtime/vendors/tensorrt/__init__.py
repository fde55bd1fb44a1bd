"""TensorRT: plans (serialised engines), run on an NVIDIA GPU.

The reader (`plan`) is pure Python. The driver (`driver`) calls the ``tensorrt`` package, else ``tensorrt_lean``, and NVIDIA's driver,
libcuda, through its C interface (`cuda`); no other CUDA package is needed.
"""

from landbridge.runtime.vendors.tensorrt.vendor import TensorrtVendor

__all__ = ["TensorrtVendor"]
