from nanoeval_core.metrics.classification import *
