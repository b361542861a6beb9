"""Makes `late_rows.py` and the task of `tests/model` importable."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "model")]
