"""Check the import contracts (.importlinter) over the core and every plugin's source, none of which is installed.

python .ci/imports.py [ARGUMENT ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from importlinter.cli import lint_imports_command

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), *map(str, sorted(ROOT.glob("plugins/*/src")))]
    lint_imports_command()
