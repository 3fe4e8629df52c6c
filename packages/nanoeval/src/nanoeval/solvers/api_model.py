from nanoeval_solvers.api_model import *
