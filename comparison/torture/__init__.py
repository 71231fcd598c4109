"""What the services promise under overload and faults, tried on real processes."""
