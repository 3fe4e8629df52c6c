from nanoeval_core.metrics.bootstrap import *
