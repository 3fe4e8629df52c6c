"""Solvers: strategies from a task to a scoreable result, over one API policy layer.

Layers, each importing only those above it (and `nanoeval_core`, nothing else of nanoeval):

    _parsing, _templates        pure: replies to choices, prompts from questions
    mcq, short_answer           tasks, evals, solver interfaces, mocks
    mcq_api                     solvers that ask a model endpoint

`openai` is imported when a client is first built, not before.
"""
