"""Models that can be restored from their dumps."""

from nanoeval_computer.serialization import *
