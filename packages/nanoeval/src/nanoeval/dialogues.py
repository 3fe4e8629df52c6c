from nanoeval_core.dialogues import *
