"""The parts that every service process shares: settings, log, signals, memory, metrics."""
