"""What was measured, and how sure it is. `docs/statistics.md` has the formulas and their sources.

    standard, agents                       the metrics of an eval; system errors
    samples, accumulator, running_summary  the same from attempts, one by one, during a run
    headline                               the one number of a summary that a table shows
    outcomes                               what became of each attempt
    breakdown                              by any field of the tasks
    clustered_mean, variance_split         accuracy, its error, what would make it smaller
    intervals                              Wilson, t
    pass_at_k, at_k, consensus             several attempts at a question
    calibration                            probabilities
    paired, many_runs, verdict             runs against each other
    cluster_variance, _student_t           what these are made of

Import modules from here by name; none imports anything heavy.
"""
