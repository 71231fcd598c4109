"""Why a model cannot be served."""

from __future__ import annotations


class ModelError(Exception):
    """A model can't be served, and why, in one sentence."""
