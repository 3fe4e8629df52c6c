from nanoeval_recorder.run_report import *
