"""See `nanoeval_recorder.evallib_eval`."""

from nanoeval_recorder.evallib_eval import *
