from nanoeval_recorder.filters import *
