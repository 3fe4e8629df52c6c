from nanoeval_core.metrics.agents import *
