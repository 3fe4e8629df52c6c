from nanoeval_solvers.mcq_logprobs import *
