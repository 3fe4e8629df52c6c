from nanoeval_core.metrics.at_k import *
