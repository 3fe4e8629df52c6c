"""Computer tasks: interfaces, runtimes that start machines, and agents.

Parts; what each imports when it is loaded is above it, or in its line:

    secret, _messages, serialization    what tasks are made of
    code_execution_interface            a computer, how one is configured, who starts it
    pausable_timer, limits              how long things may take
    task, steps                         what is to be done, and what came of it
    _reaper                             removes what a dead process has left
    machine, _inside                    a computer that is spoken to, and what runs in it
    runtime, local                      machines on this host
    _containers, containers             machines that are containers
    solver, simple_solver               what works on tasks, and the eval of them
    grading, maintenance                checking tasks; looking at engines and machines
    agent_tools, agents, mock_agent     models that act
    demo                                a try of each

nanoeval-core and what is public in nanoeval-solvers are all of nanoeval that is imported.
"""
