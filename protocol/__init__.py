"""What the messages mean: types, errors, deadlines, codecs and the registry of wires. Nothing here does I/O."""
