from nanoeval_core.pickling import *
