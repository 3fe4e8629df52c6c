from nanoeval_computer.demo.agent import *
from nanoeval_computer.demo.agent import main

if __name__ == "__main__":
    main()
