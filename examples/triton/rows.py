"""Writes large.jsonl beside it: 16384 numbers as JSON for REST, and as the base64 of their bytes for gRPC."""

import base64
import json
import struct
from pathlib import Path

NUMBERS = [(37 * i) % 1000 / 8 for i in range(16384)]
row = {"numbers": NUMBERS, "base64": base64.b64encode(struct.pack(f"<{len(NUMBERS)}f", *NUMBERS)).decode()}
Path(__file__).with_name("large.jsonl").write_text(json.dumps(row) + "\n")
