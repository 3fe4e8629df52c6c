from nanoeval_cli.examples.gpqa_simple import *
from nanoeval_cli.examples.gpqa_simple import main
from nanoeval_runner.setup import nanoeval_entrypoint

if __name__ == "__main__":
    nanoeval_entrypoint(main)
