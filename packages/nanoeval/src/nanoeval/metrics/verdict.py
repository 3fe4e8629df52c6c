from nanoeval_core.metrics.verdict import *
