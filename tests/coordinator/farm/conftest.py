from __future__ import annotations

import sys
from pathlib import Path

# The builders and the simulation lie beside the tests that share them.
sys.path.insert(0, str(Path(__file__).parent))
