"""The metric `code_eval` of Hugging Face's `evaluate`, judged by the verifier, as a folder that `evaluate.load` loads.

`evaluate.load("code_eval")` takes a folder of that name in the working directory before it asks the Hub: so
lm-evaluation-harness, too, judges with a link to `FOLDER` there.

A candidate that was not judged raises NotJudged, which ends the evaluation: the metric has no place for it.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = str(Path(__file__).parent)
"""The folder of the metric."""
