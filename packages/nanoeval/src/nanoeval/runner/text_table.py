from nanoeval_runner.text_table import *
