from nanoeval_core.usage import *
