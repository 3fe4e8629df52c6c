"""nanoeval recorder."""
