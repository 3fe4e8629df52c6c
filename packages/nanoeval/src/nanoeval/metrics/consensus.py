from nanoeval_core.metrics.consensus import *
