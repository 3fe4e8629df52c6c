from nanoeval_core.by_name import *
