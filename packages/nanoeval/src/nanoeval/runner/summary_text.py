from nanoeval_runner.summary_text import *
