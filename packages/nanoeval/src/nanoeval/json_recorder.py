from nanoeval_core.recorder import *
from nanoeval_recorder.json_lines import *
