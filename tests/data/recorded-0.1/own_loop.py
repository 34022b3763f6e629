"""A training loop of a user, as version 0.1 recorded it: killed at step 55, with a checkpoint of step 40."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from recorded_task import small_digits
from torch.nn import functional as F
from torch.utils.data import Subset

import fisherscope as fs

EPOCHS = 3
CHECKPOINT_AT, KILLED_AT = 40, 55


def run(root: Path, kill_at: int | None = None) -> Path:
    """Train to the end, resuming a run that is there; the run's directory."""
    parts = small_digits()
    data = Subset(parts["train"], range(600))
    torch.manual_seed(0)
    model = parts["model"]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    config = {"task": "own", "batch_size": 20, "lr": 0.01, "seed": 0, "epochs": EPOCHS}
    with fs.open_run(root / "own-s20-lr0.01-seed0", config) as record:
        policy = fs.policy.parse("s20+constant", lr=0.01, epochs=EPOCHS)
        sampler = fs.DynamicBatchSampler(data, policy, seed=0)
        sampler.attach(optimizer)
        monitor = fs.Monitor(model, optimizer, every=7, run=record, dataset_size=len(data))
        saved = {"model": model, "optimizer": optimizer, "sampler": sampler, "monitor": monitor}
        state = record.load_checkpoint()
        if state is not None:
            for name, part in saved.items():
                part.load_state_dict(state[name])
            torch.set_rng_state(state["random"])
        while sampler.epoch < EPOCHS:
            for index in sampler:
                x = torch.stack([data[i][0] for i in index])
                y = torch.stack([data[i][1] for i in index])
                optimizer.zero_grad()
                with monitor.observe():
                    loss = F.cross_entropy(model(x), y)
                    loss.backward()
                optimizer.step()
                sampler.step(monitor.measurement)
                if sampler.current.start == 0:
                    record.log_epoch(**monitor.epoch_end(), val_error=float(loss.detach()))
                step = sampler.current.step
                if step == CHECKPOINT_AT:
                    states = {name: part.state_dict() for name, part in saved.items()}
                    record.save_checkpoint({**states, "random": torch.get_rng_state()})
                if step == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
        record.finish()
    return record.path
