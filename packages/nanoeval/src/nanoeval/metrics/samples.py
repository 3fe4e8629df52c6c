from nanoeval_core.metrics.samples import *
