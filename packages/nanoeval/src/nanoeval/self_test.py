from nanoeval_core.self_test import *
