from nanoeval_core.fs_paths import *
