"""Score completions as verl does: python examples/verl_score.py

In a run of verl the same function is named in its configuration:

    reward.custom_reward_function.path=pkg://selftaught.trainer.rewards
    reward.custom_reward_function.name=compute_score

and each row of the data set has the puzzle's source as `reward_model.ground_truth`.
"""

from selftaught import Verifier
from selftaught.trainer import rewards

ROW = {
    "data_source": "puzzles",
    "prompt": [{"role": "user", "content": "Write sol() so that sat(sol()) is True."}],
    "reward_model": {"style": "rule", "ground_truth": "def sat(x: str): return x[::-1] == 'desserts' and len(x) == 8"},
    "extra_info": {"index": 0},
}
COMPLETIONS = [
    "Reverse it:\n```python\ndef sol():\n    return 'desserts'[::-1]\n```",
    "```python\ndef sol():\n    return 'stressed'\n```",
    "```python\ndef sol():\n    return 'desserts'\n```",
    "I don't know.",
]

with Verifier(workers=1, require="restricted") as verifier:
    rewards.use(verifier)
    for completion in COMPLETIONS:
        truth = ROW["reward_model"]["ground_truth"]
        score = rewards.compute_score(  # without `unanswered` a completion without code raises NotJudged
            ROW["data_source"], completion, truth, extra_info=ROW["extra_info"], unanswered=0.0
        )
        print(score, repr(completion[:40]))
