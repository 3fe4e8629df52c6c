"""Samples of the evals package."""
