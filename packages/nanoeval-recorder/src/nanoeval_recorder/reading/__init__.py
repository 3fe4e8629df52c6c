"""Reading records back: events, attempts, reports and tables.

_open        the lines of a file, decompressed
events       what a record holds
reader       events, in the order of the file
sample       attempts; run_report, outline, dataframe: what they come to
"""
