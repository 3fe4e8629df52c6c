from nanoeval_computer.agent_tools import *
