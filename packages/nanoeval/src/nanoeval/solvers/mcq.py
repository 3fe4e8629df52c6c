from nanoeval_solvers.mcq import *
