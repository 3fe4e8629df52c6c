"""What a solver yields while it works on a task, and in the end."""

from nanoeval_computer.steps import *
