from nanoeval_core.recorder_adapter import *
