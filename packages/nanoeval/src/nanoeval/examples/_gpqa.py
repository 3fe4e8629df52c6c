from nanoeval_cli.examples.gpqa import *
