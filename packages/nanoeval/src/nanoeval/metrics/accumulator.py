from nanoeval_core.metrics.accumulator import *
