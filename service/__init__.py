"""What a process that serves has, whichever service it is: settings, log, signals, memory, metrics."""
