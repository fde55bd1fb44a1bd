"""Where programs come from: ONNX files, the module API, and edits of either."""
