"""The first eval of docs/02_own_eval.md, as inspect_ai has it."""

from inspect_ai import Task, eval, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import model_graded_qa
from inspect_ai.solver import generate
from nanoeval.solvers.testing import ModelServer


@task
def physics() -> Task:
    return Task(
        dataset=[
            Sample(id="light", input="How fast is light, in km/s?", target="299792 km/s"),
            Sample(id="sound", input="How fast is sound in air?", target="343 m/s"),
        ],
        solver=generate(),
        scorer=model_graded_qa(),
    )


def answer(request):
    is_judge = "GRADE" in request.prompt
    return "They agree.\nGRADE: C" if is_judge else "Answer: 300,000 km/s"


if __name__ == "__main__":
    with ModelServer(reply=answer) as server:
        (log,) = eval(physics(), model="openai/small", model_base_url=server.url)
        metrics = log.results.scores[0].metrics
        print(metrics["accuracy"].value, "±", metrics["stderr"].value)
