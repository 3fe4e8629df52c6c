from nanoeval_core.redaction import *
