"""A resources server for NeMo-Gym: `verify` judges a response in the jail.

In a folder `resources_servers/selftaught` of NeMo-Gym's, `app.py` is two lines:

    from selftaught.trainer.integrations.nemo_gym import SelftaughtResourcesServer
    SelftaughtResourcesServer.run_webserver()

A row's `verifier_metadata` is a row as `selftaught.trainer.integrations.dataset_row` reads it, or has `unit_tests`, as
the rows of NeMo-Gym's own server `code_gen`. What was not judged is an error of HTTP and no reward: in NeMo-Gym 0.4 a
reward is a number, and no number means that there is none. Its agent then fails this rollout.
"""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
from nemo_gym.base_resources_server import (
    BaseResourcesServerConfig,
    BaseVerifyRequest,
    BaseVerifyResponse,
    SimpleResourcesServer,
)

from selftaught.sandbox.errors import NotJudged
from selftaught.trainer.integrations import dataset_row
from selftaught.trainer.rows import Unanswered

_NOT_JUDGED, _MALFORMED = 503, 422


class SelftaughtConfig(BaseResourcesServerConfig):  # type: ignore[misc]
    """Settings of the server.

    Attributes:
        all_cases: The reward is the share of cases that pass.
        unanswered: The reward of a response in which no code is understood; None means an error instead of a reward.
    """

    all_cases: bool = False
    unanswered: float | None = None


class SelftaughtVerifyRequest(BaseVerifyRequest):  # type: ignore[misc]
    """A response and what judges it."""

    verifier_metadata: dict[str, Any]


class SelftaughtVerifyResponse(BaseVerifyResponse):  # type: ignore[misc]
    """The reward, and the status and message of the verdict; `passed` of `total` cases, 0 for a puzzle."""

    verifier_metadata: dict[str, Any]
    status: str
    message: str = ""
    passed: int = 0
    total: int = 0


class SelftaughtResourcesServer(SimpleResourcesServer):  # type: ignore[misc]
    """The server."""

    config: SelftaughtConfig

    async def verify(self, body: SelftaughtVerifyRequest) -> SelftaughtVerifyResponse:
        """Judge a response.

        Args:
            body: The response, and what judges it.

        Raises:
            HTTPException: It was not judged: 503 for a failure of the verifier, 422 for a malformed row, and for a
                response in which no code is understood.
        """
        given = body.model_dump()
        try:
            row = _row(body.verifier_metadata, self.config.all_cases)
            reward, verdict = await row.reward(body.response.output_text)
        except Unanswered as error:
            if self.config.unanswered is None:
                raise HTTPException(_MALFORMED, str(error)) from error
            return SelftaughtVerifyResponse(**given, reward=self.config.unanswered, status="unanswered")
        except NotJudged as error:
            raise HTTPException(_NOT_JUDGED, str(error)) from error
        except ValueError as error:
            raise HTTPException(_MALFORMED, f"nothing judges the response: {error}") from error
        return SelftaughtVerifyResponse(
            **given, reward=reward, status=str(verdict.status), message=verdict.message, passed=verdict.passed,
            total=verdict.total,
        )  # fmt: skip


def _row(metadata: dict[str, Any], all_cases: bool) -> dataset_row.DatasetRow:
    """Return the row in a response's metadata; NeMo-Gym has its prompt elsewhere. Raises ValueError."""
    tests = metadata.get("unit_tests")
    judged = metadata if tests is None else {"ground_truth": tests}
    return dataset_row.read({"prompt": " ", **judged}, all_cases=all_cases)
