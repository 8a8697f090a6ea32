"""An environment for OpenEnv: a model runs programs and submits solutions, over OpenEnv's own server.

Start the server:

    python -m selftaught.trainer.integrations.openenv --problems corpus: --port 8000

and take steps:

    with SelftaughtEnv(base_url="http://127.0.0.1:8000").sync() as env:
        asked = env.reset(index=0).observation.prompt
        env.step(CodeAction(tool="run", code="print(2 ** 10)")).observation.output
        env.step(CodeAction(code="def g(): return 1")).reward

An episode ends with the first solution that is judged: its reward is 1.0 or 0.0. A solution that could not be judged is
an error, which OpenEnv's client raises as RuntimeError; the session stays, and the same step may be tried again. An
answer in which no code is understood gets an observation without a reward, and the episode goes on. So there is no
reward that a caller could take for a 0 (OpenEnv 0.10; a reward of None is summed as 0 by many of its callers).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal
from uuid import uuid4

import click
from openenv.core.client_types import StepResult
from openenv.core.env_client import EnvClient
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation, State

from selftaught.sandbox.records import CORPUS
from selftaught.trainer.integrations import dataset_row, tools
from selftaught.trainer.integrations.dataset_row import DatasetRow
from selftaught.trainer.rows import Unanswered

SESSIONS = 64
"""Maximum number of sessions at once."""


class CodeAction(Action):  # type: ignore[misc]
    """What a model does.

    Attributes:
        code: A model's answer as it is, or source.
        tool: Submit it as the solution, which ends the episode; or run it as a program.
        stdin: What a program reads from standard input.
    """

    code: str
    tool: Literal["submit", "run"] = "submit"
    stdin: str = ""


class CodeObservation(Observation):  # type: ignore[misc]
    """What a model sees.

    Attributes:
        prompt: What it is asked: text, or messages; after a reset.
        output: What a program printed.
        status: The status of the verdict on a solution.
        message: A short explanation.
        passed, total: Numbers of cases; 0 for a puzzle.
    """

    prompt: Any = None
    output: str = ""
    status: str = ""
    message: str = ""
    passed: int = 0
    total: int = 0


class QuestionState(State):  # type: ignore[misc]
    """The state of an episode: besides OpenEnv's fields `question_id`, the id of the row that is asked."""

    question_id: str | None = None


class SelftaughtEnvironment(Environment):  # type: ignore[misc]
    """The environment of one session.

    Args:
        questions: What is asked; a caller of `reset` may bring a row of its own instead.
        all_cases: Rewards of such rows are shares of cases that pass.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, questions: Sequence[DatasetRow] = (), all_cases: bool = False) -> None:
        super().__init__()
        self._questions, self._all_cases = questions, all_cases
        self._question: DatasetRow | None = None
        self._state = QuestionState()

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, index: int | None = None, **row: Any
    ) -> CodeObservation:
        """Begin an episode and return what is asked.

        Args:
            seed: Chooses a question, if no index does.
            episode_id: A name of the episode.
            index: The number of a question of the server's, from 0.
            row: Or a question of the caller's: the columns of a row (see `dataset_row.read`).

        Raises:
            ValueError: The row can't be asked, or the server has no such question.
        """
        if row:
            chosen = dataset_row.read(row, all_cases=self._all_cases)
        elif not self._questions:
            raise ValueError("the server has no questions of its own: reset needs a row, such as puzzle=...")
        else:
            number = random.Random(seed).randrange(len(self._questions)) if index is None else index
            if not 0 <= number < len(self._questions):
                raise ValueError(f"there is no question {number}: the server has {len(self._questions)}")
            chosen = self._questions[number]
        self._question = chosen
        self._state = QuestionState(episode_id=episode_id or str(uuid4()), question_id=chosen.id)
        return CodeObservation(prompt=chosen.prompt)

    def step(self, action: CodeAction, timeout_s: float | None = None, **settings: Any) -> CodeObservation:
        """Raise NotImplementedError: OpenEnv's server calls `step_async`."""
        raise NotImplementedError("await step_async")

    async def step_async(self, action: CodeAction, timeout_s: float | None = None, **settings: Any) -> CodeObservation:
        """Run a program, or judge a solution.

        Args:
            action: What the model does.
            timeout_s: Ignored: tasks have limits of their own.
            settings: Ignored.

        Raises:
            NotJudged: The solution could not be judged. The episode goes on.
            ValueError: There is no episode, or it has ended.
        """
        if self._question is None:
            raise ValueError("there is no episode, or it has ended: call reset first")
        self._state.step_count += 1
        if action.tool == "run":
            return CodeObservation(output=await tools.arun(action.code, action.stdin))
        try:
            reward, verdict = await self._question.reward(action.code)
        except Unanswered as error:
            return CodeObservation(message=f"{error}: write it whole, in one fenced block of Python")
        self._question = None
        return CodeObservation(
            done=True, reward=reward, status=str(verdict.status), message=verdict.message,
            passed=verdict.passed, total=verdict.total,
        )  # fmt: skip

    @property
    def state(self) -> QuestionState:
        """The state of the episode."""
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        """Return what the server tells of the environment."""
        about = "Programming puzzles and problems, judged by running the solution in a jail"
        return EnvironmentMetadata(name="selftaught", description=about)


class SelftaughtEnv(EnvClient):  # type: ignore[misc]
    """The client of a session: its `step` takes a `CodeAction`, and observations are `CodeObservation`."""

    def _step_payload(self, action: CodeAction) -> dict[str, Any]:
        payload: dict[str, Any] = action.model_dump(exclude_defaults=True)
        return payload

    def _parse_result(self, payload: dict[str, Any]) -> StepResult:
        reward, done = payload.get("reward"), payload.get("done", False)
        observation = CodeObservation(**payload.get("observation", {}), reward=reward, done=done)
        return StepResult(observation=observation, reward=reward, done=done)

    def _parse_state(self, payload: dict[str, Any]) -> QuestionState:
        return QuestionState(**payload)


def app(problems: str = CORPUS, sessions: int = SESSIONS, all_cases: bool = False) -> Any:
    """Return OpenEnv's server of this environment, a FastAPI application.

    Args:
        problems: A file of rows (see `dataset_row.read_file`).
        sessions: Maximum number of sessions at once.
        all_cases: Rewards are shares of cases that pass.
    """
    environment = partial(SelftaughtEnvironment, dataset_row.read_file(problems, all_cases), all_cases)
    return create_app(
        environment, CodeAction, CodeObservation, env_name="selftaught", max_concurrent_envs=sessions,
        state_cls=QuestionState,
    )  # fmt: skip


@click.command()
@click.option("--problems", default=CORPUS, show_default=True, help="A file of puzzles, tasks or a published dataset.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
@click.option("--sessions", default=SESSIONS, show_default=True, help="Maximum number of sessions at once.")
@click.option("--all-cases", is_flag=True, help="Rewards are shares of cases that pass.")
def main(problems: str, host: str, port: int, sessions: int, all_cases: bool) -> None:
    """Serve the environment over OpenEnv's protocol."""
    import uvicorn

    try:
        served = app(problems, sessions, all_cases)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    uvicorn.run(served, host=host, port=port)


if __name__ == "__main__":
    main()
