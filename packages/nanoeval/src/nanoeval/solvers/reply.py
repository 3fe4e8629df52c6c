from nanoeval_solvers.reply import *
