from nanoeval_core.recording import *
