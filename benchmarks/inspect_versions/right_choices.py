"""The second eval of docs/02_own_eval.md, as inspect_ai has it."""

from inspect_ai import Task, eval, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText
from inspect_ai.scorer import accuracy, choice, grouped, stderr
from inspect_ai.solver import multiple_choice
from nanoeval.solvers.testing import ModelServer

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


@task
def charts() -> Task:
    return Task(
        dataset=[
            Sample(
                id=f"chart-{number}",
                input=[
                    ChatMessageUser(
                        content=[
                            ContentText(text="Which of these does the chart show?"),
                            ContentImage(image=f"data:image/png;base64,{PIXEL}"),
                        ]
                    )
                ],
                choices=["a trend", "a legend", "an outlier", "a map"],
                target=["A", "B"],
                metadata={"kind": "line" if number % 2 else "bar"},
            )
            for number in range(4)
        ],
        solver=multiple_choice(multiple_correct=True),
        scorer=choice(),
        metrics=[accuracy(), stderr(), grouped(accuracy(), "kind")],
        epochs=2,
    )


if __name__ == "__main__":
    with ModelServer(reply="ANSWER: A,B") as server:
        (log,) = eval(charts(), model="openai/sees", model_base_url=server.url)
        metrics = log.results.scores[0].metrics
        print(metrics["accuracy"].value, "±", metrics["stderr"].value)
