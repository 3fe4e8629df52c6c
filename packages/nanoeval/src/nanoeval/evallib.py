from nanoeval_cli.evallib import *
from nanoeval_cli.evallib import __getattr__ as __getattr__
from nanoeval_cli.evallib import main
from nanoeval_runner.setup import nanoeval_entrypoint

if __name__ == "__main__":
    nanoeval_entrypoint(main)
