from nanoeval_core.errors import *
