"""The weights that a training changes: loaded so that small updates are kept, and saved from any number of processes.

An AdamW step changes a weight by about the learning rate. In bfloat16 a weight of 0.02 has neighbours at a distance of
1e-4: a step of 5e-6 is rounded away. So what is trained is in float32, the optimiser's state too, and the device
multiplies in bfloat16 (autocast). Weights that are not trained may be in bfloat16 or in 4 bits (QLoRA).
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from selftaught.generator.models import ModelFailed
from selftaught.generator.models.transformers import Transformers, fastest_dtype

SAVED = ("float32", "bfloat16", "float16")
"""Dtypes in which a model can be saved."""


def check(bf16: str, lora_r: int, load_in_4bit: bool, save_dtype: str) -> None:
    """Check settings that depend on each other or on what is installed.

    Args:
        bf16: See `autocasts`.
        lora_r: Rank of the adapters (0: all weights are trained).
        load_in_4bit: Quantise the base of adapters to 4 bits.
        save_dtype: Dtype of the saved weights, one of `SAVED`.

    Raises:
        ValueError: The settings can't be used; the message names the remedy.
    """
    if bf16 not in ("auto", "true", "false"):
        raise ValueError(f"bf16 must be auto, true or false, not {bf16!r}")
    if save_dtype not in SAVED:
        raise ValueError(f"save_dtype must be one of {', '.join(SAVED)}, not {save_dtype!r}")
    if load_in_4bit and not lora_r:
        raise ValueError("weights of 4 bits can't be trained, only adapters beside them: set lora_r, such as lora_r=16")
    if load_in_4bit and find_spec("bitsandbytes") is None:
        raise ValueError(
            "load_in_4bit needs bitsandbytes: pip install bitsandbytes; or leave load_in_4bit out: LoRA then needs "
            "2 bytes a weight of the base model"
        )


def autocasts(bf16: str) -> bool:
    """Return True if the training multiplies in bfloat16.

    Args:
        bf16: ``true``, ``false``, or ``auto``: if the device multiplies bfloat16 in hardware.
    """
    return fastest_dtype(device()) == "bfloat16" if bf16 == "auto" else bf16 == "true"


def device() -> str:
    """Return the type of device that models are trained on: ``cuda`` or ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def checkpoints(gradient_checkpointing: bool) -> bool:
    """Return True if the trainer computes activations again: it is wanted, and FSDP does not do so itself, which spares
    a gathering of the weights."""
    return gradient_checkpointing and os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "false").lower() != "true"


def load(base: str, *, bf16: bool = False, lora_r: int = 0, load_in_4bit: bool = False) -> Transformers:
    """Return a model to train, on the CPU: the trainer moves its weights to devices, whole or in shards.

    All weights are in float32 if they are trained. A base for adapters is in bfloat16 if the device multiplies that.

    Args:
        base: A folder or name that transformers loads; GGUF is dequantised.
        bf16: The training multiplies in bfloat16.
        lora_r: Rank of the adapters (0: all weights are trained).
        load_in_4bit: Quantise the base (NF4). It is loaded to the process's GPU if there is one.

    Raises:
        ModelFailed: The model can't be loaded.
    """
    if load_in_4bit:
        return _in_4bit(base)
    loaded = Transformers.from_name(base, device="cpu", dtype="bfloat16" if lora_r and bf16 else "float32")
    model = loaded.model
    if "gguf" in str(getattr(model, "quantization_method", "")).lower():  # loading has undone it
        model.hf_quantizer, model.is_quantized = None, False
        del model.quantization_method
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    return loaded


def _in_4bit(base: str) -> Transformers:
    where: Any = "cpu" if device() == "cpu" else int(os.environ.get("LOCAL_RANK", 0))
    quantised = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16,  # FSDP shards no integers
    )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(base)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            base, quantization_config=quantised, device_map={"": where}
        )
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelFailed(f"{base}: can't be loaded in 4 bits: {error}") from error
    return Transformers(model, tokenizer, name=base)


def lora_config(r: int, lora_alpha: int) -> Any:
    """Return PEFT's configuration of LoRA adapters on all linear layers; `lora_alpha` 0 means twice `r`."""
    return peft.LoraConfig(r=r, lora_alpha=lora_alpha or 2 * r, target_modules="all-linear", task_type="CAUSAL_LM")


def save(trainer: Any, base: str, folder: Path, save_dtype: str) -> None:
    """Save a trainer's model in Hugging Face's layout, adapters merged into the base. Every process must call this.

    Shards are gathered into the main process's memory. Adapters are merged into a base in float32, not into the one
    that they were trained beside, whose bfloat16 or 4 bits would round them away.

    Args:
        trainer: A Trainer of transformers or TRL, after its training.
        base: The base model, by its folder or name.
        folder: Where the model is saved.
        save_dtype: Dtype of the saved weights.

    Raises:
        RuntimeError: An adapter has no place in the base model; nothing is saved.
    """
    state = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, peft.PeftModel):
        # PEFT's own function finds none in layers that FSDP checkpoints.
        adapters = {name.replace(".default.", "."): one for name, one in state.items() if ".default." in name}
        merged = peft.get_peft_model(load(base).model, model.peft_config["default"])
        unknown = peft.set_peft_model_state_dict(merged, adapters).unexpected_keys
        if unknown or len(adapters) != sum(".default." in name for name, _ in merged.named_parameters()):
            raise RuntimeError(f"adapters have no place in the base model, and nothing is saved: {unknown[:3]}")
        model = merged.merge_and_unload()
        state = model.state_dict()
    for tied in model.all_tied_weights_keys:  # copies, after a gathering
        state.pop(tied, None)
    dtype = getattr(torch, save_dtype)
    state = {name: one.to(dtype) if one.is_floating_point() else one for name, one in state.items()}
    model.save_pretrained(folder, state_dict=state)
    model.config.dtype = save_dtype  # above it is that of the model in memory
    model.config.save_pretrained(folder)
