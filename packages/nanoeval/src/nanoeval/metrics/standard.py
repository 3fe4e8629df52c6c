from nanoeval_core.metrics.standard import *
