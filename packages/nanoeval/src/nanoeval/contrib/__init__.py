"""Additions to the interface."""
