from nanoeval_core.metrics.intervals import *
