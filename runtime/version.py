"""The version of Landbridge, said once; ``pyproject.toml`` repeats it, and a test compares."""

VERSION = "0.1.0"
