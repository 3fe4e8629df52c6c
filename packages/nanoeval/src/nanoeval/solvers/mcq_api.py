from nanoeval_solvers.mcq_api import *
