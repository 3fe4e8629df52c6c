from nanoeval_solvers.graders import *
