from nanoeval_recorder.mlflow_recorder import *
