from nanoeval_core.metrics.outcomes import *
