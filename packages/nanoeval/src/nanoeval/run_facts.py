from nanoeval_core.run_facts import *
