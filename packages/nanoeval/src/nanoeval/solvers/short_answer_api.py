from nanoeval_solvers.short_answer_api import *
