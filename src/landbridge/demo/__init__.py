"""The example of the README: scanned digits through the CPU, an Atlas (simulated) and OpenVINO (real)."""
