from nanoeval_core.metrics.variance_split import *
