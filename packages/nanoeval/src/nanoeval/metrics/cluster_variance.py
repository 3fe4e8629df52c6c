from nanoeval_core.metrics.cluster_variance import *
