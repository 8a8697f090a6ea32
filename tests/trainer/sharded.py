"""`selftaught train` under FSDP on processors: what a launcher starts in each process.

accelerate refuses FSDP to processes without a GPU. torch does not: its FSDP2 works over gloo. So the kind of processes
that accelerate sees is replaced here; sharding, gathering, checkpoints and our saving are those of a GPU's run.
"""

from __future__ import annotations

import os
from typing import Any

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

from selftaught.trainer import weights
from selftaught.trainer.cli import main


def _as_on_gpus(*_: Any) -> tuple[str, DistributedType]:
    return "gloo", DistributedType.MULTI_XPU


def _say_if_sharded(trainer: Any, *given: Any) -> None:
    kinds = {type(one).__name__ for one in trainer.model.parameters()}
    print(f"parameters are of type {', '.join(sorted(kinds))}")
    save(trainer, *given)


save, weights.save = weights.save, _say_if_sharded
PartialState._prepare_backend = _as_on_gpus
torch.distributed.init_process_group("gloo")
try:
    main()
except SystemExit as ended:
    assert ended.code, "a launched process ends without Python's last steps, in which threads of gloo may abort it"
    raise
