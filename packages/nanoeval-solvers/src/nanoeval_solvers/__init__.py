"""Solvers: strategies from a task to a scoreable result, over one API policy layer.

Layers, each importing only those above it (and `nanoeval_core`, nothing else of nanoeval):

    _letters, _parsing, _templates, reply, prices     pure: replies, prompts, costs
    _failures, _adaptive, _wire                       pure: decisions and formats of calls
    _meeting, _gate, _cache, _transport, _sdk,
    _prepared, _client                                calls: limits, connections, replies kept
    api_model                                         a model, and how it is asked
    mcq, graders, short_answer                        tasks, evals, interfaces, mocks
    mcq_api, mcq_logprobs, consensus,
    short_answer_api, mock_grader                     strategies

`openai`, `aiohttp` and `msgspec` are imported when a client is first built, not before.
"""
