from nanoeval_core.metrics.running_summary import *
