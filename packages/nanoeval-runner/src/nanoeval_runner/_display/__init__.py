"""What a person sees while evals run. One display serves all runs of an event loop.

tally                   one eval's running score
view                    what is shown of one eval; its run fills it in
surface                 where it is shown: a notebook, a log, nowhere
terminal                or a terminal
board                   all of it together, on the surface that fits

Runs fill in their views; the display queries nothing. Nothing heavy is imported until there is
something to draw on a terminal.
"""
