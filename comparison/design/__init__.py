"""What is measured, in which order, and what is kept of it: words that every other folder uses, and no act."""
