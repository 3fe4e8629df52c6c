from nanoeval_core.task_checks import *
