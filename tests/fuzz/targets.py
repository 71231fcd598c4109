"""Every target, by name."""

from __future__ import annotations

from tests.fuzz import codec_targets, text_targets, transport_targets

TARGETS = {
    target.name: target for target in (*codec_targets.TARGETS, *transport_targets.TARGETS, *text_targets.TARGETS)
}
