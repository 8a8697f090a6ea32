"""What NeMo-Skills' client and its evaluator of programs make of answers: a program of its own, as it needs httpx.

It asks, and reads, as NVIDIA-NeMo/Skills does in nemo_skills/code_execution/sandbox.py (`execute_code`) and
nemo_skills/evaluation/evaluator/code.py (`eval_single`), written anew. The package is not on PyPI.
"""

import json
import sys
from typing import Any

import httpx  # type: ignore[import-not-found]

DEFAULTS = {"language": "python3", "timeout": 10, "max_output_characters": 1000, "traceback_verbosity": "Plain"}


def execute(url: str, code: str, stdin: str = "", **settings: Any) -> Any:
    """Return the output. What goes wrong on the way is an output, too: only the status 502 is looked at."""
    request = {**DEFAULTS, "generated_code": code, "std_input": stdin, **settings}
    try:
        response = httpx.post(f"{url}/execute", json=request, timeout=request["timeout"] + 5)
    except httpx.TimeoutException:
        return {"process_status": "timeout", "stdout": "", "stderr": "Client timed out\n"}
    except httpx.TransportError as error:
        return {"process_status": "error", "stdout": "", "stderr": str(error)}
    if response.status_code == 502:
        return {"process_status": "timeout", "stdout": "", "stderr": "Client timed out\n"}
    return response.json()


def average_test_score(url: str, code: str, tests: list[list[str]], **settings: Any) -> float:
    """Return the share of inputs for which the output is right, whatever the process's status."""
    correct = []
    for stdin, expected in tests:
        output = execute(url, code, stdin, **settings)
        output["process_status"]
        correct.append(output["stdout"].strip() == expected.strip())
    return sum(correct) / len(correct)


if __name__ == "__main__":
    url, asked = sys.argv[1], json.loads(sys.argv[2])
    try:
        found = average_test_score(url, **asked) if "tests" in asked else execute(url, **asked)
    except KeyError as error:
        found = f"KeyError: {error}"
    print(json.dumps(found))
