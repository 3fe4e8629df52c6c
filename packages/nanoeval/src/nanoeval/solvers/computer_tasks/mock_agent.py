from nanoeval_computer.mock_agent import *
