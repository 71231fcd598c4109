"""What tests of the lab share."""

from __future__ import annotations

import pytest


@pytest.fixture
def without_pictures(monkeypatch):
    """Reports without their figures, which take ten times as long as the rest and are what test_report.py looks at."""
    from crossover.comparison.report import page  # here, since it takes a second

    monkeypatch.setattr(page, "_sections", lambda _summary, _analysis: [])
