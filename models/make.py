"""Train and build the committed models again: `make models`. Serving needs none of this.

Everything is seeded; on one machine and one set of versions the files come out the same byte for byte.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import digits  # noqa: E402 - the scripts lie beside this one
import lab  # noqa: E402

if __name__ == "__main__":
    lab.build(HERE)
    digits.build(HERE)
