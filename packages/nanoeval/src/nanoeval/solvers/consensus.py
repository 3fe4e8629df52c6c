from nanoeval_solvers.consensus import *
