from nanoeval_recorder.reading.dataframe import *
