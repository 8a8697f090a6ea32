"""The commands `selftaught loop`, `compare` and `train`; with `evaluate` and `push`, all of the trainer."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selftaught.sandbox.interruption import exit_code, heed_sigterm
from selftaught.sandbox.options import REQUIRE, WORKERS, Unusable, elsewhere, no_link, open_verifier
from selftaught.trainer.evaluate_command import evaluate
from selftaught.trainer.hub.command import push

if TYPE_CHECKING:
    from selftaught.generator.puzzle import Puzzle
    from selftaught.trainer.presets import Preset


@click.command()
@click.option("--preset", "preset_name", metavar="NAME",
              help="tiny (from scratch, minutes on a CPU), smollm2 (hours on a CPU), or pretrained (any --model).  "
              "[default: tiny; with --model pretrained]")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="Settings in a TOML file, in place of a preset; trainer/presets/*.toml are such files.")  # fmt: skip
@click.option("--model", metavar="MODEL", help="The base model: a folder or name that transformers loads; GGUF too.")
@click.option("--iterations", type=click.IntRange(0), default=3, show_default=True)
@click.option("--out", "output", required=True, metavar="DIR", type=click.Path(path_type=Path), callback=no_link,
              help="The run's folder. No symbolic link.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--recipe", "recipe_name", type=click.Choice(["preset", "default", "paper"]), default="preset",
              show_default=True, help="How pairs are generated and a pretrained model trained; paper has the preset's "
              "sizes.")  # fmt: skip
@click.option("--seeds", metavar="FILE", help="Puzzles for prompts, as for generate (loop.seeds).")
@click.option(
    "--exam", metavar="FILE", help="Held-out puzzles to evaluate on, as for evaluate --puzzles (exam.puzzles)."
)
@click.option("--serve-command", metavar="COMMAND",
              help="Serve each model by this command, such as 'vllm serve {model} --port {port}', and sample from it "
              "(serve.command).")  # fmt: skip
@click.option("--launcher", metavar="COMMAND",
              help="Train by this command, such as 'accelerate launch --config_file F' (loop.launcher).")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="Change a setting: of the recipe, such as max_attempts=8, or TABLE.NAME of the file, such as "
              "training.lora_r=16, exam.attempts=100, loop.puzzles_per_iteration=500; may be repeated.")  # fmt: skip
@click.option("--benchmark", "benchmarks", multiple=True, metavar="FILE",
              help="Also measure the base model and the last one on this benchmark, such as HumanEval.jsonl.gz; may be "
              "repeated, and given later for a run that is done.")  # fmt: skip
@WORKERS
@elsewhere
@REQUIRE
@click.option("--quiet", is_flag=True, help="Print the last two lines only.")
def loop(output: Path, iterations: int, seed: int, **options: Any) -> None:
    """Let a model teach itself: write puzzles, solve them, keep what is verified, train on it, and measure.

    DIR receives metrics.json, log.jsonl, report.html with plots and pairs to read (and report.md), the dataset with its
    card, every model and every attempt. An interrupted run continues when the same command is given again.

    \b
    Examples:
      selftaught loop --preset tiny --iterations 3 --out out/tiny
      selftaught loop --preset tiny --set hindsight_attempts=0 --seed 1 --out out/no-hindsight
      selftaught loop --model Qwen/Qwen2.5-Coder-1.5B --exam exam.jsonl --set training.lora_r=16 --out out/coder
      selftaught loop --config mine.toml --serve-command 'vllm serve {model} --port {port}' --out out/mine

    \b
    Exit code: 0 done; 2 wrong usage, or model, server, files or the required level are not available;
    130 interrupted, 143 terminated: give the command again to continue.
    """
    from selftaught.generator.models import ModelFailed
    from selftaught.sandbox.records import Unreadable
    from selftaught.trainer import report
    from selftaught.trainer.loop import Loop
    from selftaught.trainer.run import Mismatch

    heed_sigterm()
    try:
        preset = _preset(options)
    except (ValueError, OSError, ModelFailed) as error:
        raise click.UsageError(str(error)) from error
    on_message = (lambda line: None) if options["quiet"] else (lambda line: click.echo(line, err=True))
    try:
        with open_verifier(options, preset.limits) as made:
            metrics = Loop(preset, iterations, output, made, seed, on_message, options["benchmarks"]).run()
    except (Mismatch, ModelFailed, Unreadable, OSError) as error:
        raise Unusable(str(error)) from error
    except KeyboardInterrupt as stop:
        click.echo("interrupted; give the same command again to continue", err=True)
        sys.exit(exit_code(stop))
    click.echo(f"{output / 'report.html'}, plot {output / 'pass_at_k.png'}")
    click.echo(report.sentence(metrics))


_SHORT = {
    "model": "model.name",
    "seeds": "loop.seeds",
    "exam": "exam.puzzles",
    "serve_command": "serve.command",
    "launcher": "loop.launcher",
}
"""Options of `loop` for settings that nearly every run has."""


def _preset(options: dict[str, Any]) -> Preset:
    """Return the settings that the options name. Raises ValueError, OSError, ModelFailed."""
    from selftaught.trainer import presets

    if options["preset_name"] and options["config"]:
        raise ValueError("give --preset or --config, not both")
    changes = [f"{setting}={options[name]}" for name, setting in _SHORT.items() if options[name] is not None]
    changes += options["settings"]
    if options["config"]:
        return presets.from_file(options["config"], options["recipe_name"], changes)
    name = options["preset_name"] or ("pretrained" if options["model"] else "tiny")
    return presets.make(name, options["recipe_name"], changes)


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
def compare(first: Path, second: Path) -> None:
    """Compare two results of `selftaught evaluate` (or evaluation.jsonl of a loop) problem by problem.

    Prints for each k, at each run's best temperature, the difference SECOND - FIRST and their ratio, with paired
    bootstrap intervals.
    """
    from selftaught.sandbox import passk
    from selftaught.trainer import evaluation

    try:
        results = [list(evaluation.read(path)) for path in (first, second)]
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    best = [evaluation.summary(found)["pass_at_k"] for found in results]
    for k in (k for k in best[0] if k in best[1]):
        found = [evaluation.scores(one, at[k]["temperature"]) for one, at in zip(results, best, strict=True)]
        common = [ident for ident in found[0] if ident in found[1]]
        if not common:
            raise Unusable("the two results have no problem in common")
        pair = [[scores[ident] for ident in common] for scores in found]
        shown = [str(passk.estimate(scores, int(k))) for scores in pair]
        times = passk.ratio(pair[0], pair[1], int(k))
        ratio = (
            f"{times.value:.2f} [{times.low:.2f}, {times.high:.2f}] times"
            if times
            else "no ratio: the first solves nothing"
        )
        difference = passk.compare(pair[0], pair[1], int(k))
        click.echo(f"Pass@{k} on {len(common)} problems: {shown[0]} to {shown[1]}; difference {difference}; {ratio}")


@click.command()
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option(
    "--model", "model_name", required=True, metavar="MODEL", help="A folder or name that transformers loads; GGUF too."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", callback=no_link,
              help="Folder of the trained model. No symbolic link.")  # fmt: skip
@click.option("--recipe", "recipe_name", type=click.Choice(["default", "paper"]), default="default", show_default=True,
              help="sft: settings to begin with; paper is Haluptzok et al. 2023.")  # fmt: skip
@click.option("--method", type=click.Choice(["sft", "grpo", "self-play"]), default="sft", show_default=True,
              help="Fine-tune on verified pairs, or reinforce by the verifier's reward: on puzzles, or on the tasks of "
              "`selftaught self-play` in both roles.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="A setting of the method (see below); may be repeated.")  # fmt: skip
@click.option("--unverified", is_flag=True,
              help="sft: also take pairs that were not accepted, or not judged: for controls.")  # fmt: skip
@click.option("--bare", is_flag=True, help="grpo, self-play: no few-shot examples in the prompt.")
@click.option("--seed", type=int, default=0, show_default=True)
def train(data: tuple[str, ...], model_name: str, output: Path, method: str, **options: Any) -> None:
    """Fine-tune MODEL on verified pairs.

    DATA is any file that `selftaught verify` reads: its own output, of which the accepted puzzles are used; pairs.jsonl
    of `selftaught generate`; train.jsonl of a loop; - for standard input. Records without an accepted verdict are left
    out, and counted with their reasons. With --method grpo, which samples solutions itself, every puzzle is used: a
    field `sat` or `puzzle`, P3's puzzles.json, or corpus:.

    With --method self-play DATA is tasks.jsonl of `selftaught self-play`. Who solves a task is rewarded by the
    verifier; who proposes one by 1 less the share of right attempts, and 0 if all or none are right.

    \b
    Settings of sft (named as in TrainingArguments and TRL's SFTConfig):
      learning_rate=5e-6 lr_scheduler_type=constant warmup_steps=0 num_train_epochs=4 max_length=1024
      stages= (1+2+3+4: trainings one after the other) packing_strategy=bfd (wrapped: one long text)
      per_device_train_batch_size=1 gradient_accumulation_steps=1 lora_r=0 lora_alpha=0 (twice lora_r)
      completion_only_loss=false use_example_weights=false save_steps=500 logging_steps=10
    Settings of grpo (named as in TRL's GRPOConfig):
      learning_rate=1e-6 num_generations=8 per_device_train_batch_size=32 (completions) max_completion_length=150
      temperature=0.9 num_train_epochs=1 max_steps=-1 beta=0 gradient_accumulation_steps=1 lora_r=0 lora_alpha=0
      use_vllm=false vllm_mode=colocate vllm_server_base_url= vllm_gpu_memory_utilization=0.3
      vllm_tensor_parallel_size=1 vllm_max_model_length=0 save_steps=100
    Settings of self-play: those of grpo, and
      roles=solve,propose solver_attempts=8 solver= (a model or server that attempts proposals; the one in training)
    Settings of all:
      bf16=auto (multiply in bfloat16; true, false) gradient_checkpointing=false (grpo: true) load_in_4bit=false (QLoRA)
      save_dtype=float32 (of the saved weights; bfloat16) report_to=none (wandb,tensorboard or others)

    What is trained is in float32, with the optimiser's state, so that small steps are kept.

    Checkpoints go to DIR/checkpoints; the same command continues from the last one. DIR/log.jsonl has a line for each
    logged step. The model is saved in Hugging Face's layout, with adapters merged into it.

    \b
    One GPU:
      selftaught train pairs.jsonl --model Qwen/Qwen2.5-Coder-1.5B -o out --set per_device_train_batch_size=8
    Several GPUs:
      accelerate launch --multi_gpu -m selftaught.trainer.cli train pairs.jsonl --model MODEL -o out
    """
    from selftaught.generator.models import ModelFailed

    try:
        if method == "sft":
            counts = _train_sft(data, model_name, output, options)
        elif method == "self-play":
            counts = _train_self_play(data, model_name, output, options)
        else:
            counts = _train_grpo(data, model_name, output, options["settings"], options["bare"], options["seed"])
    except (ModelFailed, ValueError, OSError, ImportError) as error:
        raise Unusable(str(error)) from error
    if _is_first_process():
        click.echo(", ".join(f"{name} {value}" for name, value in counts.items()))
    _end_if_launched()


def _end_if_launched() -> None:
    """Wait for the other processes of a launcher, and end this one without the last steps of Python.

    Threads of gloo that still hold a tensor then abort the process, and the launcher calls a finished training a failed
    one (pytorch pull request 179291). To destroy the process groups ends the threads only of those that nothing refers
    to; caches of sharded tensors do.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        atexit._run_exitfuncs()  # experiment trackers send what is left
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _is_first_process() -> bool:
    """Return True in the first process of a launcher, which speaks for all, and without one."""
    return os.environ.get("RANK", "0") == "0"


def _train_sft(data: tuple[str, ...], model: str, output: Path, options: dict[str, Any]) -> dict[str, Any]:
    from selftaught.generator import pair
    from selftaught.generator.settings import changed
    from selftaught.sandbox.records.omissions import Omissions
    from selftaught.trainer import sft

    start = sft.PAPER if options["recipe_name"] == "paper" else sft.Settings()
    omissions, chosen = Omissions(), changed(start, options["settings"])
    pairs = pair.read(data, omissions, unverified=options["unverified"])
    if _is_first_process():
        omissions.tell(", ".join(data))
    return sft.train(model, pairs, output, chosen, options["seed"], _print_step)


def _train_grpo(
    data: tuple[str, ...], model: str, output: Path, settings: tuple[str, ...], bare: bool, seed: int
) -> dict[str, Any]:
    from selftaught.generator import prompts, seeds
    from selftaught.generator.settings import changed
    from selftaught.sandbox.records.omissions import Omissions
    from selftaught.trainer import grpo

    chosen = changed(grpo.Settings(), settings)
    puzzles: dict[str, Puzzle] = {}
    for source in data:
        omissions = Omissions()
        puzzles |= {one.id: one.puzzle for one in seeds.read(source, omissions)}
        if _is_first_process():
            omissions.tell(source)
    style = prompts.BARE if bare else prompts.Style()
    return grpo.train(model, list(puzzles.values()), output, chosen, style, seed)


def _train_self_play(data: tuple[str, ...], model: str, output: Path, options: dict[str, Any]) -> dict[str, Any]:
    from selftaught.generator import prompts
    from selftaught.generator.absolute_zero import play
    from selftaught.generator.settings import changed
    from selftaught.trainer import self_play

    chosen = changed(self_play.Settings(), options["settings"])
    tasks = [task for source in data for task in play.read(source)]
    style = prompts.BARE if options["bare"] else prompts.Style()
    return self_play.train(model, tasks, output, chosen, style, options["seed"])


def _print_step(step: int, steps: int, loss: float) -> None:
    click.echo(f"step {step:,} of {steps:,}, loss {loss:.4f}", err=True)


@click.group()
def main() -> None:
    """The trainer's commands, for launchers that start a module (`python -m selftaught.trainer.cli`)."""


for _command in (loop, evaluate, compare, train, push):
    main.add_command(_command)

if __name__ == "__main__":
    main()
