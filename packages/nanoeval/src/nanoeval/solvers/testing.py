from nanoeval_solvers.testing import *
