"""A reward model for slime: `--custom-rm-path selftaught.trainer.integrations.slime.reward`.

What judges a sample is its `metadata`, with the columns that rewards know (`selftaught.trainer.rewards`), or else its
`label`: a puzzle's source, or a ground truth.

A completion that was not judged has the reward None, with which slime can't compute advantages: `judged`, as
`--dynamic-sampling-filter-path`, drops its group, and slime samples another. Read at THUDM/slime, commit 0044b40d.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from selftaught.sandbox.errors import NotJudged
from selftaught.trainer.integrations import scoring

_log = logging.getLogger(__name__)


async def reward(args: Any, samples: Any, **settings: Any) -> Any:
    """Return the reward of a sample, or with `--group-rm` those of a group.

    Args:
        args: slime's settings. `selftaught_unanswered`, in the file of `--custom-config-path`, is the reward of a
            completion in which no code is understood.
        samples: A sample, with `prompt`, `response`, `label` and `metadata`; or several.
        settings: Ignored.

    Returns:
        1.0 or 0.0; None for what was not judged; a list for several samples.
    """
    unanswered = getattr(args, "selftaught_unanswered", None)
    if isinstance(samples, Sequence):
        return await asyncio.gather(*(_reward(sample, unanswered) for sample in samples))
    return await _reward(samples, unanswered)


async def _reward(sample: Any, unanswered: float | None) -> float | None:
    row = sample.metadata if isinstance(sample.metadata, Mapping) else {}
    try:
        return await scoring.reward(row, sample.label, sample.response, sample.prompt, unanswered)
    except NotJudged as error:
        _log.warning("sample %s has no reward: %s", sample.index, error)
        return None


def judged(args: Any, samples: Sequence[Any], **settings: Any) -> bool:
    """Return True if each sample of a group has a reward; slime drops the group otherwise.

    Args:
        args: Ignored.
        samples: The group: samples, or lists of the samples of which a rollout consists.
        settings: Ignored.
    """
    parts = [part for sample in samples for part in (sample if isinstance(sample, list) else [sample])]
    return all(part.reward is not None for part in parts)
