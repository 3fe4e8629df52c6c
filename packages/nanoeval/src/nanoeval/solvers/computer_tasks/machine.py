"""`Machine`: what our runtimes' computers have in common, whatever starts them."""

from nanoeval_computer.machine import *
