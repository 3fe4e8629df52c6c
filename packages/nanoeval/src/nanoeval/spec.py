from nanoeval_core.spec import *
