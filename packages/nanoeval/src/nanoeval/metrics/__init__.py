"""Metrics: `nanoeval.metrics.standard`, `nanoeval.metrics.agents`."""
