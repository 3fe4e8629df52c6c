"""Limits of a rollout: actions, time, and time for what is not the rollout itself."""

from nanoeval_computer.limits import *
