"""From raw samples to judgements. Pure; no I/O."""
