"""What is said of a run: in words, in the terminal, as a page, as tables."""
