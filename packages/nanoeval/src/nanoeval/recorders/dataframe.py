from nanoeval_recorder.dataframe import *
