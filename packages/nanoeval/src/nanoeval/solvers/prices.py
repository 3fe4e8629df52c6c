from nanoeval_solvers.prices import *
