"""A delineation to its numbers."""
