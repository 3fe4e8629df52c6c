from nanoeval_core.recorder_base import *
