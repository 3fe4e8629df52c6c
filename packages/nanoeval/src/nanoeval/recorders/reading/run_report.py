from nanoeval_recorder.reading.run_report import *
