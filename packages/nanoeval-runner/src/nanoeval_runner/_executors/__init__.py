"""Executors: take tasks from the queue, run them with asyncio, put the results back.

protocol       what an executor needs of the world
open_evals     an eval whose context is entered, in one executor
loaded_eval    an eval in an executor that got it pickled
attempts       one attempt at one task
loop           claim → evaluate → commit, shared by all executors
watchdog       heartbeats, blocked event loops, quiet minutes
in_process     the executor inside the driver
engines        which executors a run asked for
process_pool   executors in processes of their own; child is what runs in them
remote_pool    executors that an engine starts elsewhere; remote is what runs in them
messages       what these two say to each other
"""
