"""Executors: take tasks from the queue, run them with asyncio, put the results back.

source         the one thing that differs between executors
attempts       an eval in one executor, and the attempts at its tasks
loop           claim → evaluate → commit, shared by all executors
watchdog       heartbeats, blocked event loops, quiet minutes
threads        what asyncio.to_thread runs on
pool           executors elsewhere: their supervision
process_pool   … in processes of their own; executor_process is what runs in them
remote_pool    … that an engine starts; nanoeval_runner.remote_executor is what runs in them
preloaded      what the process that executors are forked from has imported
"""
