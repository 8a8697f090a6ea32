"""What frameworks do around a reward function: excerpts of their releases, without what needs a model.

    OpenRLHF 0.11.2   openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute
                      openrlhf/trainer/ppo_utils/experience_maker.py, make_experience
    verl 0.9.1        verl/experimental/reward_loop/reward_manager/naive.py and limited.py, run_single
                      verl/trainer/ppo/v1/agent_loop_tq.py, _settle_session_tasks and _run_prompt
                      verl/trainer/ppo/reward.py, get_custom_reward_fn
    verifiers 0.4.0   verifiers/v1/task.py, Task.score; errors.py, boundary; utils/decorators.py, invoke

All three are published under the Apache License, Version 2.0. Names and order of the statements are theirs.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any


async def openrlhf(reward_func: Callable[..., Any], query: str, prompt: str, label: Any) -> dict[str, Any]:
    """Return the output of a rollout: its reward, or None if the function raised."""
    output: dict[str, Any] = {"reward": None, "scores": None, "extra_logs": {}}
    try:
        rewards_info_list = await asyncio.gather(asyncio.to_thread(reward_func, [query], [prompt], [label]))
        rewards_info = rewards_info_list[0] if rewards_info_list else None
        if rewards_info:
            score_value = rewards_info.get("scores")
            if score_value is None:
                score_value = rewards_info.get("rewards")
            output.update(
                reward=rewards_info.get("rewards"),
                scores=score_value,
                extra_logs=rewards_info.get("extra_logs") or {},
            )
    except Exception:
        pass  # logged
    return output


def openrlhf_make_experience(rewards: list[Any], reward_model_group: Any = None) -> None:
    """Refuse a batch whose first reward is missing, if there is no reward model."""
    use_reward_model = rewards[0] is None
    if use_reward_model and reward_model_group is None:
        raise ValueError("reward_model_group is required when rewards are not precomputed")


def verl_custom_reward(raw_fn: Callable[..., Any], **reward_kwargs: Any) -> Callable[..., Any]:
    """Return the function as verl wraps it, with reward.custom_reward_function.reward_kwargs."""

    def call_with_kwargs(raw_fn: Callable[..., Any], extra_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return raw_fn(*args, **{**kwargs, **extra_kwargs})

    async def call_with_kwargs_async(raw_fn: Any, extra_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return await raw_fn(*args, **{**kwargs, **extra_kwargs})

    if not inspect.iscoroutinefunction(raw_fn):
        return partial(call_with_kwargs, raw_fn, reward_kwargs)
    return partial(call_with_kwargs_async, raw_fn, reward_kwargs)


async def verl_naive(compute_score: Callable[..., Any], solution_str: str, ground_truth: Any) -> dict[str, Any]:
    """Return the reward of a completion as the manager `naive` has it."""
    given = {"data_source": "x", "solution_str": solution_str, "ground_truth": ground_truth, "extra_info": {}}
    if inspect.iscoroutinefunction(compute_score):
        result = await compute_score(**given)
    else:
        result = await asyncio.get_running_loop().run_in_executor(None, lambda: compute_score(**given))
    return {"reward_score": result, "reward_extra_info": {"acc": result}}


async def verl_rate_limited(compute_score: Callable[..., Any], solution_str: str, ground_truth: Any) -> dict[str, Any]:
    """Return the reward of a completion as the manager `rate_limited` has it."""
    try:
        return await verl_naive(compute_score, solution_str, ground_truth)
    except Exception as e:
        return {"reward_score": 0.0, "reward_extra_info": {"error": str(e), "acc": 0.0}}


async def verl_run_prompt(
    manager: Callable[..., Any], compute_score: Callable[..., Any], completions: list[str], ground_truth: Any
) -> tuple[str, list[float]]:
    """Return the status of a prompt's group, and the rewards of those completions that are stored."""
    stored: list[float] = []

    async def run_agent_loop(text: str) -> None:
        stored.append((await manager(compute_score, text, ground_truth))["reward_score"])

    tasks = [asyncio.create_task(run_agent_loop(text)) for text in completions]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    session_errors = [result for result in results if isinstance(result, BaseException)]
    return ("failure" if session_errors else "finished"), stored


class TaskError(Exception):
    """verifiers' error of a task's own code."""


async def verifiers_score(fn: Callable[..., Any], task: Any, trace: Any) -> None:
    """Record a trace's reward, as Task.score does with one plugged reward function named `verified`."""
    available = {"task": task, "trace": trace, "runtime": None}
    try:
        trace.rewards["verified"] = None
        params = inspect.signature(fn).parameters
        kwargs = {name: available[name] for name in params if name in available}
        results = await asyncio.gather(fn(**kwargs))
        trace.rewards["verified"] = float(results[0])
    except Exception as e:
        raise TaskError(f"scoring: {type(e).__name__}: {e}") from e
