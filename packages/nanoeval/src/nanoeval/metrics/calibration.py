from nanoeval_core.metrics.calibration import *
