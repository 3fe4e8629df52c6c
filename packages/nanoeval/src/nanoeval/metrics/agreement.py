from nanoeval_core.metrics.agreement import *
