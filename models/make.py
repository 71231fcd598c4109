"""Train and build the committed models again: `make models`. Serving needs none of this.

Everything is seeded; on one machine and one set of versions the files come out the same byte for byte. The folder to
write to may be given (default: this one).
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True  # a __pycache__ here would lie among the models

import digits  # noqa: E402 - the scripts lie beside this one
import lab  # noqa: E402
import timing  # noqa: E402

if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    lab.build(target)
    lab.save(lab.image(), (target if target != HERE else HERE.parent / "comparison" / "bench" / "repository") / "image")
    digits.build(target)
    timing.show(target)
