"""The fourth eval of docs/02_own_eval.md, as inspect_ai has it."""

from inspect_ai import Task, eval, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import Tool, tool
from nanoeval.solvers.testing import ModelServer, Scripted


@tool
def add() -> Tool:
    async def execute(a: int, b: int) -> int:
        """Add two numbers.

        Args:
            a: the first.
            b: the second.
        """
        return a + b

    return execute


@task
def sums() -> Task:
    return Task(
        dataset=[
            Sample(id=f"sum-{n}", input=f"What is {n} + 17? Use the tool.", target=str(n + 17))
            for n in range(5)
        ],
        solver=[use_tools(add()), generate()],
        scorer=includes(),
        message_limit=10,
    )


def act(request):
    if request.messages[-1]["role"] == "tool":
        return f"It is {request.prompt}."
    words = request.prompt.split()
    arguments = {"a": int(words[2]), "b": int(words[4].strip("?"))}
    return Scripted(text=None, tool_calls=(("add", arguments),))


if __name__ == "__main__":
    with ModelServer(reply=act) as server:
        (log,) = eval(sums(), model="openai/acts", model_base_url=server.url)
        print(log.results.scores[0].metrics["accuracy"].value)
