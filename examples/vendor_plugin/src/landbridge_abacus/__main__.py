"""Write a blob: ``python -m landbridge_abacus FILE [FACTOR SUMMAND]``."""

import sys
from pathlib import Path

from landbridge_abacus.vendor import make_blob

if __name__ == "__main__":
    numbers = [float(text) for text in sys.argv[2:]] or [3.0, 1.0]
    Path(sys.argv[1]).write_bytes(make_blob(*numbers, shape=["n", 4]))
