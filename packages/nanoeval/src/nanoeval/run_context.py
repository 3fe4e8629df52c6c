from nanoeval_core.run_context import *
