"""Compare host code with ONNX Runtime, OpenVINO and NumPy, each beside what the machine can do at best."""
