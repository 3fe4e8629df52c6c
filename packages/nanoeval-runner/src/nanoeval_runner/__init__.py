"""The queue and the executors: `run`, `validate`, `resume`."""
