from nanoeval_core.library_config import *
