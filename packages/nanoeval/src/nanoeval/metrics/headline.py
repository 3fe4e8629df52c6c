from nanoeval_core.metrics.headline import *
