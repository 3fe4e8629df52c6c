import sys

from nanoeval_recorder.inspect_log import *
from nanoeval_recorder.inspect_log import main

if __name__ == "__main__":
    main(sys.argv[1:])
