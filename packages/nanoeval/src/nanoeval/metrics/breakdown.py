from nanoeval_core.metrics.breakdown import *
