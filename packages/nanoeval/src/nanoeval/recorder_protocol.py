from nanoeval_core.recorder_protocol import *
