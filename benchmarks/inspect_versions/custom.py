"""The third eval of docs/02_own_eval.md, as inspect_ai has it."""

from inspect_ai import Epochs, Task, eval, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import accuracy, exact, grouped, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import subprocess


@solver
def python_sorts() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        process = await subprocess(["python3", "-c", f"print(sorted({state.input_text}))"])
        if not process.success:
            raise RuntimeError(f"python3 ended with {process.returncode}")
        state.output = ModelOutput.from_content("python3", process.stdout.strip())
        return state

    return solve


@task
def sorts(attempts: int = 4) -> Task:
    return Task(
        dataset=[
            Sample(
                id=f"list-{n}",
                input=str(list(range(n, 0, -1))),
                target=str(list(range(1, n + 1))),
                metadata={"size": "small" if n < 5 else "large"},
            )
            for n in range(1, 11)
        ],
        solver=python_sorts(),
        scorer=exact(),
        metrics=[accuracy(), stderr(), grouped(accuracy(), "size")],
        epochs=Epochs(attempts, ["mean", f"pass_at_{attempts}"]),
    )


if __name__ == "__main__":
    (log,) = eval(sorts(), model="mockllm/model", retry_on_error=16)
    print([(score.reducer, score.metrics["accuracy"].value) for score in log.results.scores])
