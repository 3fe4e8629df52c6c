from nanoeval_core.recorder import *
