from nanoeval_cli.bin.sqlite import *
from nanoeval_cli.bin.sqlite import main
from nanoeval_runner.setup import nanoeval_entrypoint

if __name__ == "__main__":
    nanoeval_entrypoint(main)
