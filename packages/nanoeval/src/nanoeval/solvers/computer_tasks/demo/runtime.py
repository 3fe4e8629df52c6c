from nanoeval_computer.demo.runtime import *
from nanoeval_computer.demo.runtime import main

if __name__ == "__main__":
    main()
