from nanoeval_solvers.samples_eval import *
