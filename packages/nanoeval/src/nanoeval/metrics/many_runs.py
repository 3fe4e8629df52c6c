from nanoeval_core.metrics.many_runs import *
