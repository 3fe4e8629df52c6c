from nanoeval_core.recorder_registry import *
