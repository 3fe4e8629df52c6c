from nanoeval_core.async_breakpoint import *
