from nanoeval_recorder.inspect_log import *
