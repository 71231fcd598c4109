"""What is measured, in which order, and what is kept of it."""
