from nanoeval_core.metrics.pass_at_k import *
