from nanoeval_core.recorder import *
from nanoeval_core.recorder_base import *
from nanoeval_core.recorder_protocol import *
