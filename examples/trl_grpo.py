"""Reward a model with the verifier in TRL's GRPO: python examples/trl_grpo.py MODEL [STEPS]

MODEL is a folder or name that transformers loads. The prompts are the bundled puzzles, each with worked examples
before it. Needs `pip install 'selftaught[train]'`.
"""

import sys

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from selftaught import Limits, Verifier
from selftaught.generator.prompts import Style, for_solution
from selftaught.generator.puzzle import parse
from selftaught.sandbox import corpus
from selftaught.trainer import rewards

model, steps = sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 100
puzzles = [parse(record["sat"]) for record in corpus.records()]
data = Dataset.from_list([{"prompt": for_solution(one, Style()).text, "puzzle": one.source} for one in puzzles])
settings = GRPOConfig(
    output_dir="out/trl",
    max_steps=steps,
    num_generations=4,
    per_device_train_batch_size=8,
    max_completion_length=64,
    logging_steps=1,
    report_to=[],
    bf16=False,
)
with Verifier(limits=Limits(cpu_seconds=0.5), require="restricted") as verifier:
    rewards.use(verifier)
    trainer = GRPOTrainer(model, reward_funcs=rewards.reward, args=settings, train_dataset=data)
    trainer.train()
for entry in trainer.state.log_history:
    if "reward" in entry:
        print(f"step {entry['step']}: solved {entry['reward']:.0%}")
