from nanoeval_core.task import *
