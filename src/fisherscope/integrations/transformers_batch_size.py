"""Batch sizes and rates of a policy inside Hugging Face's Trainer."""

import math
from typing import Any

import torch

from fisherscope.guard import RefusedType, RefusedValue
from fisherscope.integrations.optional_import import import_framework
from fisherscope.integrations.ordered_batches import OrderedBatches, batches_of, draws_ahead, loader_with
from fisherscope.integrations.scheduler_by_samples import SchedulerBySamples
from fisherscope.policy import Observation, Policy, parse
from fisherscope.sampler import RateOwner, micro_batches

transformers = import_framework("transformers", "transformers")
callbacks = import_framework("transformers.trainer_callback", "transformers")
TrainerCallback: Any = transformers.TrainerCallback
ExportableState: Any = callbacks.ExportableState
logger: Any = import_framework("transformers.utils.logging", "transformers").get_logger(
    "transformers.trainer"
)

METHODS = (
    "get_train_dataloader",
    "set_initial_training_values",
    "_init_training_state",
    "create_scheduler",
    "training_step",
)
"""Methods of a Trainer that are called through this callback."""
DOING = "changing batch sizes in Trainer"


class DynamicBatchSize(TrainerCallback, ExportableState):
    """Let a policy choose the batch size of each optimizer step of a Trainer.

    `attach(trainer)` puts it between the Trainer and its loader, scheduler and training step; the Trainer's
    order of samples, collation, losses, logging, evaluation and checkpoints stay its own. The batch of a step
    is the policy's whatever the device holds: above `max_micro_batch` it is trained in parts whose gradients
    add up. A scheduler's step stands for as many samples as the policy's first batch, so warm-up and decay
    keep their meaning. With a size that never changes training is bit for bit the Trainer's own.

    Example:
        ```python
        import tempfile
        import torch
        import transformers
        from fisherscope.integrations import DynamicBatchSize

        tiny = transformers.BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        )
        data = [{"input_ids": torch.randint(0, 40, (6,)), "labels": k % 2} for k in range(32)]
        settings = transformers.TrainingArguments(
            tempfile.mkdtemp(), num_train_epochs=2, use_cpu=True, report_to=[], disable_tqdm=True
        )
        model = transformers.BertForSequenceClassification(tiny)
        trainer = transformers.Trainer(model, settings, train_dataset=data)
        DynamicBatchSize("s4-to-16+sqrt").attach(trainer)
        trainer.train()
        assert trainer.state.global_step < 16
        ```

    Args:
        policy: A policy, or its name; a name takes rate and epochs from the Trainer's arguments.
        max_micro_batch: Most samples in one forward; None for no limit.
        lr: Who sets the learning rate (see `DynamicBatchSampler.attach`).
        lag: For a policy that reads measurements, whose rows come from a `TransformersCallback` of the
            Trainer: batches drawn ahead; None for what accelerate and the workers draw.

    Raises:
        ValueError: From `attach` or when training starts: several processes, `gradient_accumulation_steps`,
            `max_steps`, `auto_find_batch_size`, `dataloader_drop_last`, or another contradiction.
        TypeError: When training starts: the data have no length.
    """

    def __init__(
        self,
        policy: str | Policy,
        *,
        max_micro_batch: int | None = None,
        lr: RateOwner = "couple",
        lag: int | None = None,
    ) -> None:
        if max_micro_batch is not None and max_micro_batch < 1:
            raise RefusedValue(f"{DOING}: max_micro_batch={max_micro_batch!r}; expected at least 1 sample")
        self.policy, self.max_micro_batch, self.lr, self.lag = policy, max_micro_batch, lr, lag
        self.batches: OrderedBatches | None = None
        self.trainer: Any = None
        self._own: dict[str, Any] = {}  # the Trainer's methods
        self._epochs = 1
        self._epoch_steps: int | None = None  # of the epoch that is trained
        self._said: tuple[int, float] | None = None  # size and gain of the latest log

    def attach(self, trainer: Any) -> Any:
        """Steer a Trainer, before its `train()`.

        Args:
            trainer: A `transformers.Trainer` of version 5, or of a class derived from it.

        Returns:
            The trainer.

        Raises:
            ValueError: Its arguments contradict a policy.
            TypeError: It is no Trainer that can be steered.
        """
        missing = [name for name in METHODS if not hasattr(trainer, name)]
        if missing or self.trainer is not None:
            raise RefusedType(
                f"{DOING}: {type(trainer).__name__} "
                + (f"has no {', '.join(missing)}" if missing else "or another one is attached already")
                + f"; expected a Trainer of transformers 5 ({transformers.__version__} is installed), and a "
                "DynamicBatchSize for each"
            )
        _check_arguments(trainer)
        self.trainer = trainer
        self._own = {name: getattr(trainer, name) for name in METHODS}
        for name in METHODS:
            setattr(trainer, name, getattr(self, f"_{name.lstrip('_')}"))
        trainer.add_callback(self)
        return trainer

    # In place of the Trainer's methods

    def _get_train_dataloader(self) -> Any:
        args = self.trainer.args
        _check_arguments(self.trainer)
        if self.batches is not None:
            self.batches.sizes.detach()
        own = self._own["get_train_dataloader"]()
        self._epochs, policy = int(args.num_train_epochs), self.policy
        if isinstance(policy, str):
            policy = parse(policy, lr=args.learning_rate, epochs=self._epochs)
        lag = draws_ahead(own) if self.lag is None and policy.closed_loop else self.lag or 0
        self.batches = OrderedBatches(batches_of(own, DOING), policy, lag)
        if policy.closed_loop and _monitor(self.trainer) is None:
            raise RefusedValue(
                f"{DOING}: {policy.name!r} reads measurements, and the Trainer has no TransformersCallback; "
                "add one: callbacks=[TransformersCallback(every=10)]"
            )
        return self.trainer.accelerator.prepare(loader_with(own, self.batches))

    def _set_initial_training_values(self, args: Any, dataloader: Any) -> Any:
        if self.batches is None:
            return self._own["set_initial_training_values"](args, dataloader)
        sizes = self.batches.sizes
        if sizes.policy.closed_loop:  # not known before: no more than one sample a batch
            longest, steps = sizes.length, sizes.length * self._epochs
        else:
            counts = sizes.count_batches(self._epochs)
            longest, steps = max(counts), sum(counts)
        size, samples = sizes.current.size, sizes.length
        return self._epochs, longest, samples, samples * self._epochs, size, longest, steps

    def _init_training_state(self, max_steps: int, *rest: Any, **named: Any) -> tuple[int, int]:
        first = self._own["_init_training_state"](max_steps, *rest, **named)
        trainer, batches = self.trainer, self.batches
        if batches is None or trainer.state.global_step == 0:
            return int(first[0]), int(first[1])
        saved = (trainer.state.stateful_callbacks or {}).get(type(self).__name__)
        if not saved or not saved["attributes"].get("batches"):
            raise RefusedValue(
                f"{DOING}: the checkpoint at step {trainer.state.global_step} was saved without a "
                "DynamicBatchSize, so its place among the samples is not known; resume without one"
            )
        batches.load_state_dict(saved["attributes"]["batches"])
        self._said = tuple(saved["attributes"]["said"])
        done = 0 if trainer.args.ignore_data_skip else batches.done
        batches.redraw = done > 0
        return batches.sizes.epoch, done

    def _create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        trainer, batches = self.trainer, self.batches
        if batches is None:
            return self._own["create_scheduler"](num_training_steps, optimizer)
        if isinstance(trainer.lr_scheduler, SchedulerBySamples):
            trainer.lr_scheduler = trainer.lr_scheduler.scheduler
        policy = batches.sizes.policy
        _, first = policy.update(policy.init(), Observation(0, 0, batches.sizes.length))
        steps = self._epochs * -(-batches.sizes.length // first.batch_size)  # of the first size
        own = self._own["create_scheduler"](num_training_steps=steps, optimizer=optimizer)
        if not isinstance(own, torch.optim.lr_scheduler.ReduceLROnPlateau):
            trainer.lr_scheduler = SchedulerBySamples(own, trainer.optimizer)
        return trainer.lr_scheduler

    def _training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        own, trainer, limit = self._own["training_step"], self.trainer, self.max_micro_batch
        if limit is None or self.batches is None or self.batches.sizes.current.size <= limit:
            return own(model, inputs, num_items_in_batch)
        before, loss, items = trainer.current_gradient_accumulation_steps, None, _counted_items(model, inputs)
        divides = trainer.compute_loss_func is None  # else the user's function does, by the number of items
        for part, share in micro_batches(inputs, limit):
            weight = _counted_items(model, part) / items if items else share
            if weight == 0 and divides:
                continue  # a mean over no label
            trainer.current_gradient_accumulation_steps = 1 / weight if divides else before
            partial = own(model, part, None if divides else num_items_in_batch)
            loss = partial if loss is None else loss + partial
        trainer.current_gradient_accumulation_steps = before
        return own(model, inputs, num_items_in_batch) if loss is None else loss

    # Callbacks

    def on_train_begin(self, /, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Attach the policy to the optimizer, and say who sets the learning rate."""
        if self.batches is None:
            return
        scheduler = self.trainer.lr_scheduler
        advanced = isinstance(scheduler, SchedulerBySamples) and self.lr != "policy"
        own = scheduler.scheduler if advanced else None
        self.batches.sizes.attach(self.trainer.optimizer, self.lr, scheduler=own)
        logger.warning(f"fisherscope: {self.batches.sizes.attachment}")
        if state.global_step == 0:
            decision = self.batches.sizes.current.decision
            self._said = (decision.batch_size, decision.gain)

    def on_epoch_begin(self, /, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the batches of the epoch, where that is known."""
        if self.batches is not None:
            sizes = self.batches.sizes
            known = not sizes.policy.closed_loop
            self._epoch_steps = self.batches.done + len(self.batches) if known else None

    def on_step_end(self, /, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move on to the next batch, its size, and the rate of its step; log what changes."""
        if self.batches is None:
            return
        done, monitor = self.batches.sizes.current, _monitor(self.trainer)
        self.batches.step(None if monitor is None else monitor.measurement)
        current, count = self.batches.sizes.current, self.batches.done
        share = current.start / self.batches.sizes.length
        if self._epoch_steps:
            share = count / self._epoch_steps
        state.epoch = done.epoch + (1.0 if current.epoch > done.epoch else share)
        decision = current.decision
        if (decision.batch_size, decision.gain) != self._said and current.epoch < self._epochs:
            self._said = (decision.batch_size, decision.gain)
            rate = float(self.trainer.lr_scheduler.get_last_lr()[0])
            row = {"batch_size": decision.batch_size, "batch_size_gain": decision.gain, "next_lr": rate}
            is_due = control.should_log
            self.trainer.log({key: float(value) for key, value in row.items()})
            control.should_log = is_due  # Trainer takes any log for the one that was due
            state.log_history[-1]["batch_size_reason"] = decision.reason
            logger.info(f"fisherscope: step {state.global_step}: {decision.batch_size}: {decision.reason}")

    def on_train_end(self, /, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the optimizer as it was."""
        if self.batches is not None:
            self.batches.sizes.detach()

    def state(self) -> dict[str, Any]:
        """Return what Trainer's checkpoint stores (in its trainer_state.json)."""
        held = None if self.batches is None else self.batches.state_dict()
        return {"args": {}, "attributes": {"batches": held, "said": list(self._said or ())}}


def _counted_items(model: Any, inputs: Any) -> int:
    """Count the labels over which a model's loss is a mean; 0 where it is one over samples."""
    labels = inputs.get("shift_labels", inputs.get("labels"))
    if not isinstance(labels, torch.Tensor) or labels.ndim < 2 or labels.is_floating_point():
        return 0
    causal = getattr(getattr(model, "module", model), "loss_type", None) in (None, "ForCausalLM")
    if causal and "shift_labels" not in inputs:
        labels = labels[..., 1:]
    return int((labels != -100).sum())


def _monitor(trainer: Any) -> Any:
    """Return what measures in a Trainer: the monitor of a TransformersCallback, or that before its start."""
    for callback in trainer.callback_handler.callbacks:
        if hasattr(callback, "monitor") and hasattr(callback, "options"):
            return callback.monitor or callback
    return None


def _check_arguments(trainer: Any) -> None:
    """Refuse arguments of a Trainer that contradict a policy.

    Raises:
        ValueError: There is one.
        TypeError: The data have no length.
    """
    args, epochs = trainer.args, trainer.args.num_train_epochs
    if trainer.train_dataset is not None and not hasattr(trainer.train_dataset, "__len__"):
        raise RefusedType(
            f"{DOING}: {type(trainer.train_dataset).__name__} has no length, so a policy can't count epochs; "
            "give a map-style dataset (datasets.load_dataset(…, streaming=False))"
        )
    ranks = max(int(args.world_size), int(args.n_gpu or 1))
    distributed = str(trainer.accelerator.distributed_type).rpartition(".")[2]
    contradictions = {
        f"{ranks} processes or devices; a policy works on one in Trainer, and on several in an own loop or "
        "in Lightning (docs/how-to/distributed.md)": ranks > 1 or distributed not in ("NO", "MULTI_CPU"),
        f"gradient_accumulation_steps={args.gradient_accumulation_steps}; the policy's size is that of an "
        "optimizer step: leave it at 1 and give max_micro_batch": args.gradient_accumulation_steps > 1,
        f"max_steps={args.max_steps}; a policy counts epochs: give num_train_epochs": args.max_steps > 0,
        f"num_train_epochs={epochs}; expected a whole number": not (
            epochs >= 1 and math.floor(epochs) == epochs
        ),
        "auto_find_batch_size=True; give max_micro_batch instead": args.auto_find_batch_size,
    }
    for text, is_so in contradictions.items():
        if is_so:
            raise RefusedValue(f"{DOING}: {text}")
