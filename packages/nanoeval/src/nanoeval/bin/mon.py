from nanoeval_cli.bin.mon import *
from nanoeval_cli.bin.mon import main

if __name__ == "__main__":
    main()
