from nanoeval_core.words import *
