"""NeMo-Skills' client of its sandbox, and its evaluator of programs: a program of its own, as it needs httpx.

They are what NVIDIA-NeMo/Skills does in nemo_skills/code_execution/sandbox.py (`execute_code`, `_send_request`,
`LocalSandbox`) and nemo_skills/evaluation/evaluator/code.py (`eval_single`), without sessions (Apache License, Version
2.0). The package is not on PyPI.
"""

import asyncio
import json
import sys
from typing import Any

import httpx  # type: ignore[import-not-found]


class Sandbox:
    """NeMo-Skills' client."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def _send_request(self, request: dict[str, Any], timeout: float) -> Any:
        async with httpx.AsyncClient() as http_session:
            output = await http_session.post(
                url=f"{self.url}/execute",
                content=json.dumps(request),
                timeout=timeout + 5.0,
                headers={"Content-Type": "application/json"},
            )
        if output.status_code == 502:
            raise httpx.TimeoutException("502 error")
        try:
            return output.json()
        except json.JSONDecodeError:
            return {"process_status": "error", "stdout": "", "stderr": "Unknown error"}

    async def execute_code(
        self,
        generated_code: str,
        std_input: str = "",
        language: str = "python",
        timeout: float = 10.0,
        max_output_characters: int = 1000,
    ) -> dict[str, Any]:
        request = {
            "generated_code": generated_code,
            "std_input": std_input,
            "timeout": timeout,
            "language": language,
            "max_output_characters": max_output_characters,
            "traceback_verbosity": "Plain",
        }
        try:
            output = await self._send_request(request, timeout)
        except httpx.TimeoutException:
            output = {"process_status": "timeout", "stdout": "", "stderr": "Client timed out\n"}
        except httpx.TransportError as e:
            output = {"process_status": "error", "stdout": "", "stderr": f"Sandbox environment crashed: {e}\n"}
        output.pop("new_session_created", False)
        return dict(output)


def evaluate(url: str, code: str, tests: list[list[str]], **settings: Any) -> float:
    """Return `average_test_score` of a program."""

    async def eval_single() -> float:
        output_dict: dict[str, list[Any]] = {"correct_tests": [], "process_status": []}
        for test_input, expected in tests:
            output = await Sandbox(url).execute_code(generated_code=code, std_input=test_input, **settings)
            output_dict["process_status"].append(output["process_status"])
            output_dict["correct_tests"].append(output["stdout"].strip() == expected.strip())
        return sum(output_dict["correct_tests"]) / len(output_dict["correct_tests"])

    return asyncio.run(eval_single())


if __name__ == "__main__":
    url, asked = sys.argv[1], json.loads(sys.argv[2])
    try:
        found: Any = evaluate(url, **asked) if "tests" in asked else asyncio.run(Sandbox(url).execute_code(**asked))
    except KeyError as error:
        found = f"KeyError: {error}"
    print(json.dumps(found))
