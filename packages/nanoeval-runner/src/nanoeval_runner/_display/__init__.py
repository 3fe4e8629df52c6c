"""What a person sees while evals run, and at their end. One display serves all runs of a loop.

formats, text_table     numbers and tables as text
forecast                when a run will be over
tally                   one eval's running score
view                    what is shown of one eval
surfaces, terminal      where it is shown: a terminal, a notebook, a log, nowhere
board                   all of it together

Nothing heavy is imported until there is something to draw on a terminal.
"""
