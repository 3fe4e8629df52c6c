from nanoeval_recorder.json_lines import *
