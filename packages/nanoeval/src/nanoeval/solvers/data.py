from nanoeval_solvers.data import *
