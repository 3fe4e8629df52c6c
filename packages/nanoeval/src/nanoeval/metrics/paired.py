from nanoeval_core.metrics.paired import *
