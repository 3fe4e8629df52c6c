from nanoeval_core.json_values import *
