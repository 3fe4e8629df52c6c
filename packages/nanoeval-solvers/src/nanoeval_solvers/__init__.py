"""Solvers: strategies from a task to a scoreable result, over one API policy layer.

Parts; what each imports when it is loaded is above it, or in its line (and of nanoeval
`nanoeval_core` alone):

    reply, prices, data, _templates, tools   what models say, call and cost; questions from files
    _replies                                 reading answers out of replies
    _api                                     calls to an endpoint: client, limiter, transport, …
    api_model                                a model, and how it is asked
    _mocks, _questions, _prompting           what evals of questions and their solvers share
    graders, _summary                        whether a reply is right, and what all of them come to
    mcq, short_answer                        tasks, evals, questions, interfaces, mocks
    mcq_api, mcq_logprobs, short_answer_api, consensus     strategies
    _evals, samples_eval                     evals of the public `evals` registry
    testing, _pytest_plugin                  a model endpoint for tests

`openai`, `aiohttp`, `httptools` and `msgspec` are imported when a call needs them, not before.
"""
