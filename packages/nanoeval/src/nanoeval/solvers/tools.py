from nanoeval_solvers.tools import *
