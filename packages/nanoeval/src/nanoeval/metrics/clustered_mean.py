from nanoeval_core.metrics.clustered_mean import *
