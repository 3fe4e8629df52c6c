from nanoeval_recorder.folder import *
