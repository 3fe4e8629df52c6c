"""Values that a machine needs and that nobody should read in a record."""

from nanoeval_computer.secret import *
