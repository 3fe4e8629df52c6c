"""nanoeval."""
