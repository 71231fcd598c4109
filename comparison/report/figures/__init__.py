"""The report's pictures: one file each, a function from the summary or the measures to an inline SVG."""
