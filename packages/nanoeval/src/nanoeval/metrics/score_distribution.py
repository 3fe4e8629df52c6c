from nanoeval_core.metrics.score_distribution import *
