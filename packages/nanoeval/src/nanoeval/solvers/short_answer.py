from nanoeval_solvers.short_answer import *
