"""One command for one GPU: a pretrained model teaches itself, beside its control; prints what a person compares.

    pip install 'selftaught[train]' vllm
    python examples/gpu/run.py --model Qwen/Qwen2.5-Coder-1.5B -o out/gpu

It prints the commands that it gives: `selftaught loop` for each seed, and the control for the first one. Given again it
goes on where it was stopped. Its parts were tried on processors; it has not been timed on a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def lacking() -> list[str]:
    """Return what this machine lacks, with remedies."""
    found = []
    if importlib.util.find_spec("torch") is None:
        found.append("torch and transformers: pip install 'selftaught[train]'")
    elif not __import__("torch").cuda.is_available():
        found.append("a GPU that torch sees: see nvidia-smi, and https://pytorch.org for the build of your driver")
    if shutil.which("vllm") is None:
        found.append("vLLM, which samples: pip install vllm; or another server by --set serve.command=COMMAND")
    return found


def give(*words: str) -> None:
    """Run a module of selftaught, after printing the command."""
    print("$ python -m", shlex.join(words), flush=True)
    code = subprocess.run([sys.executable, "-m", *words]).returncode
    if code:
        sys.exit(code)


def cell(found: dict[str, Any]) -> str:
    return f"{found['value']:6.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def compared(folders: list[Path]) -> list[str]:
    """Return a table of runs and their controls: each exam, each model, Pass@k with intervals."""
    lines = []
    for folder in folders:
        metrics = json.loads((folder / "metrics.json").read_text())
        models = [("base" if not one["iteration"] else f"iteration {one['iteration']}", one["counts"]["examples"], one)
                  for one in metrics["iterations"]]  # fmt: skip
        for path in sorted(folder.glob("ablations/*/summary.json")):
            one = json.loads(path.read_text())
            models.append((path.parent.name, one["examples"], one))
        exams = list(metrics["iterations"][0]["groups"]) or [""]
        for exam in exams:
            lines.append(f"{folder.name} {exam}".rstrip())
            for name, pairs, one in models:
                scores = one["groups"][exam] if exam else one["pass_at_k"]
                shown = "  ".join(f"Pass@{k} {cell(found)}" for k, found in scores.items())
                lines.append(f"  {name:12} {pairs:7,} pairs  {shown}")
        for k, gain in metrics["gains"].items():
            lines.append(f"  Pass@{k}: {gain['value']:.2f} times the base [{gain['low']:.2f}, {gain['high']:.2f}]")
        stages = [one["seconds"] for one in metrics["iterations"]]
        total = {name: sum(one.get(name, 0) for one in stages) for name in ("generate", "train", "evaluate")}
        lines.append("  minutes: " + ", ".join(f"{name} {seconds / 60:.0f}" for name, seconds in total.items()))
        yields = metrics["iterations"][-1]["counts"]["yield"]
        lines.append("  of the last iteration: " + ", ".join(f"{name} {number:,}" for name, number in yields.items()))
    return [
        *lines,
        "Compare the last iteration with the base, and with `unverified`: as many pairs, which nobody verified. Where",
        "intervals overlap nothing is shown. Then read the pairs in report.html, and take more seeds.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder or name that transformers and vLLM load")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--config", default=str(HERE / "loop.toml"), help="settings of the loop")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1, help="number of runs")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as for selftaught loop")
    parser.add_argument("--require", default="full", choices=["full", "restricted"], help="the verifier's level")
    parser.add_argument("--anyhow", action="store_true", help="start without a GPU or vLLM")
    given = parser.parse_args()
    if missing := lacking():
        print("This machine lacks\n  " + "\n  ".join(missing), file=sys.stderr)
        if not given.anyhow:
            sys.exit(2)
    settings = [word for one in [f"model.name={given.model}", *given.set] for word in ("--set", one)]
    common = ["--config", given.config, *settings, "--require", given.require]
    folders = [given.out / f"seed{seed}" for seed in range(given.seeds)]
    for seed, folder in enumerate(folders):
        loop = ["selftaught.trainer.cli", "loop", "--iterations", str(given.iterations), "--seed", str(seed)]
        give(*loop, "--out", str(folder), *common)
    control = folders[0] / "ablations" / "unverified" / "summary.json"
    if not control.exists():
        give("selftaught.trainer.ablation", str(folders[0]), "--variant", "unverified", *common)
    print("\n".join(compared(folders)))


if __name__ == "__main__":
    main()
