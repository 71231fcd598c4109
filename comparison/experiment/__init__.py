"""The run itself: what is prepared, the blocks and their slices, the searches."""
