"""Solvers: strategies from a task to a scoreable result, over one API policy layer.

Parts, each importing only those above it (and `nanoeval_core`, nothing else of nanoeval):

    reply, tools, prices, _templates    what models say and call, what it costs, prompts
    _replies                            reading answers out of replies
    _api                                calls to an endpoint: client, limiter, transport, wire, …
    api_model                           a model, and how it is asked
    _questions, _mocks, data            what evals of questions share; stand-ins for models
    mcq, graders, short_answer          tasks, evals, questions, interfaces, mocks
    _prompting                          from a question to a reply that is read
    mcq_api, mcq_logprobs, consensus,
    short_answer_api                    strategies
    testing                             a model endpoint for tests

`openai`, `aiohttp` and `msgspec` are imported when a call needs them, not before.
"""
