from nanoeval_runner.resume_command import *
