"""ONNX models as programs, in the order of the way: load, prepare, choose what is native, build, cut out what is not, assemble.

`landbridge.frontends.onnx.from_onnx` is the whole way.
"""
