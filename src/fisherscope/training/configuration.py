"""Check the configuration of a run; the one home of every default."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

import fisherscope as fs
from fisherscope.plain_text import short_repr

DEVICE_NUMBERS = 16
"""Device numbers under which version 0.1 may have stored a run."""
NUMBERS = (int, float, int | None, float | None)


class ConfigurationError(ValueError):
    """Report a configuration with an unknown key or a value out of range."""


class Configuration(BaseModel):
    """Describe one run; runs of equal configurations are the same run, wherever it is stored.

    Optimizer, momentum, weight decay and learning-rate schedule are by default those of Liao et al. 2020,
    section 4: Nesterov SGD, the learning rate divided by 10 at 50 % and 75 % of the epochs. How steps are
    measured (at random instead of fixed distances, by another non-zero rule), validation data, augmentation
    and length are not: `paper_settings`, which `--paper` takes, has the paper's.

    Args:
        task: A built-in task such as "digits/resnet8", or "module:function".
        batch_size: Samples per batch (of the first batch, if a policy changes it).
        lr: Initial learning rate.
        policy: Name of the policy; by default the fixed batch size.
        epochs: Length of the schedule.
        seed: Random seed of initialisation, order and augmentation.
        optimizer: Class name in `torch.optim`.
        momentum: Momentum, for optimizers that have one.
        weight_decay: Weight decay.
        nesterov: Whether SGD uses Nesterov's momentum.
        on_spike: Whether to watch every step's gradient norm, and take apart those that leave its band.
        measure_metric: "optimizer" adds the measures in the optimizer's own metric to each row.
        schedule: Learning-rate schedule: "levels", "constant", "cosine", "linear" or "wsd". It becomes a part
            of the policy's name.
        warmup: Share of the run over which the rate rises; a part of the policy's name too.
        grad_clip: Largest norm of the gradient; a larger one is scaled to it.
        decay_matrices_only: Whether weight decay leaves out parameters of fewer than two dimensions, such as
            biases and normalisation, in a group of their own.
        every: Steps per measurement.
        per_epoch: Measurements per epoch, instead of `every`.
        stride: Whether to measure at fixed instead of random distances.
        measure: Whether to measure at all.
        rule: Non-zero rule of the spectrum, as `fs.Monitor` takes, or "paper"; by default "floor".
        measure_precision: "float64" forms the Gram's products in float64; by default that of the gradients.
        fused: Whether measured steps take gradients as sums of the per-sample ones; by default they do not.
        limit_train: Train on this number of samples.
        limit_test: Evaluate on at most this number of validation and of test samples.
        micro_batch: Samples in memory at once; a larger batch is accumulated.
        validation: Whether to hold out validation data; if not, the test split stands in for them.
        augment: Whether to augment training images; by default as the task does.
        extra: Whether to train on SVHN's extra set too; by default if its file is there.
        precision: "float32", "bfloat16" or "float16" (mixed precision).
        compile: Whether to compile the model.
        device: "cpu", or "cuda", "cuda:1", ….
        threads: CPU threads of torch.
        start: Name of the frozen state, among those of the runs' directory, whose weights and optimizer state
            the run begins with (docs/branches.md).
        segment: Samples of an epoch, taken from a stream of permutations of the training data.

    Raises:
        pydantic.ValidationError: A value is out of range; `Configuration.of` raises a readable error instead.

    Example:
        ```python
        from fisherscope.training import Configuration

        config = Configuration.of({"task": "digits/mlp", "policy": "s32-to-128", "lr": 0.1})
        assert (config.batch_size, config.epochs) == (32, 40)
        assert config.identity()["lr"] == 0.1
        config.check_policy(config.policy_of(), samples=1000)
        ```
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    batch_size: int = Field(128, gt=0)
    lr: float = Field(0.1, gt=0)
    policy: str | None = None  # by default the fixed batch size
    epochs: int = Field(40, gt=0)
    seed: int = Field(0, ge=0, lt=1 << 63)  # what torch's and our own generators take
    optimizer: str = "SGD"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    nesterov: bool = True
    every: int = Field(50, gt=0)
    per_epoch: int | None = Field(None, gt=0)  # measurements per epoch, instead of `every`
    stride: bool = False
    measure: bool = True
    # by default None, which an absent key equals: runs recorded before these keys existed resume
    rule: str | None = None
    measure_precision: Literal["default", "float64"] | None = None
    fused: bool | None = None
    on_spike: bool | None = None
    measure_metric: Literal["optimizer"] | None = None
    schedule: str | None = Field(None, exclude=True)  # `of` writes it into the policy's name
    warmup: float | None = Field(None, ge=0, lt=1, exclude=True)  # likewise
    grad_clip: float | None = Field(None, gt=0)
    decay_matrices_only: bool | None = None
    limit_train: int | None = Field(None, gt=0)
    limit_test: int | None = Field(None, gt=0)
    micro_batch: int | None = Field(None, gt=0)  # samples in memory at once; a larger batch is accumulated
    validation: bool = True
    augment: bool | None = None  # by default as the task has it
    extra: bool | None = None  # by default where SVHN's extra file is
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    device: str = "cpu"
    threads: int | None = Field(None, gt=0, le=4096)  # more of them end some systems' processes
    start: str | None = Field(None, pattern=r"^[\w-]{1,100}$")
    segment: int | None = Field(None, gt=0)

    @field_validator("rule")
    @classmethod
    def _check_rule(cls, value: str | None) -> str | None:
        """Check that there is such a non-zero rule."""
        if value not in (None, "paper"):
            try:
                fs.measures.parse_rule(str(value))
            except ValueError as error:
                raise ValueError(f"{error}, or paper") from error
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool_for_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject a boolean where a number is expected; pydantic would convert it."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in NUMBERS:
            raise ValueError("expected a number")
        return value

    @classmethod
    def of(cls, values: Configuration | Mapping[str, Any]) -> Configuration:
        """Make a configuration, with the policy's full name, batch size and learning rate.

        Args:
            values: Values by key; a configuration is returned as it is.

        Returns:
            The configuration.

        Raises:
            ConfigurationError: A key is unknown (the nearest is suggested), a value is out of range, or batch
                size, learning rate or `measure` contradict the policy.
        """
        if isinstance(values, Configuration):
            return values
        if not isinstance(values, Mapping):
            raise ConfigurationError(
                f"configuring a run: received {type(values).__name__}; expected a mapping of settings, "
                'such as {"task": "digits/resnet8"}'
            )
        values = _with_task_settings(values)
        config = cls._parse(values)
        policy_lr = None if config.policy is None else fs.policy.rate_in(config.policy)
        if policy_lr is not None and values.get("lr") is None:
            config = config.model_copy(update={"lr": policy_lr})
        policy = config.policy_of(config._policy_name())
        if policy.closed_loop and not config.measure:
            raise ConfigurationError(
                f"configuring a run: the policy {policy.name} reads measurements, and measure=false takes "
                "none; leave out one of the two"
            )
        size = _first_size(policy)
        both = values.get("policy") is not None and values.get("batch_size") is not None
        if both and size != config.batch_size:
            raise ConfigurationError(
                f"configuring a run: batch_size {config.batch_size} and the policy {policy.name}, which "
                f"begins with {size}, contradict each other; give one of the two"
            )
        own = {"policy": policy.name, "batch_size": size, "schedule": None, "warmup": None}
        return config.model_copy(update=own)

    def _policy_name(self) -> str:
        """Return the policy's name with the schedule in it."""
        name = f"s{self.batch_size}" if self.policy is None else self.policy
        if self.schedule is None and self.warmup is None:
            return name
        return str(fs.policy.schedule_suffix(name, self.schedule or "levels", self.warmup or 0.0))

    @classmethod
    def _parse(cls, values: Mapping[str, Any]) -> Configuration:
        """Validate the keys and the type and range of each value.

        Returns:
            The configuration, as given.

        Raises:
            ConfigurationError: A key is unknown, or a value is out of range.
        """
        unknown = [key for key in values if key not in cls.model_fields]
        if unknown:
            near = difflib.get_close_matches(
                str(unknown[0])[:80].replace("-", "_"), list(cls.model_fields), 1
            )
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(cls.model_fields)}"
            raise ConfigurationError(f"configuring a run: {short_repr(unknown[0])} is unknown; {hint}")
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            problem = first["msg"].removeprefix("Value error, ").lower()
            received = f", received {short_repr(first['input'])}" if first["type"] != "missing" else ""
            raise ConfigurationError(f"configuring a run: {key}: {problem}{received}") from error

    def policy_of(self, name: str | None = None) -> Any:
        """Make a policy of its name.

        Args:
            name: Name of the policy; by default this configuration's.

        Returns:
            The policy, as `fs.policy.parse`.

        Raises:
            ValueError: There is no policy of this name.
        """
        text = str(self.policy) if name is None else name
        return fs.policy.parse(text, lr=self.lr, epochs=self.epochs)

    def check_policy(self, policy: Any, samples: int) -> None:
        """Check that a policy fits this run.

        Args:
            policy: The policy, as `policy_of` makes it.
            samples: Number of training samples.

        Raises:
            ConfigurationError: Its beacons are for another task, or for epochs of another length.
        """
        inner = policy
        while hasattr(inner, "policy"):  # a wrapper's
            inner = inner.policy
        beacons = getattr(inner, "beacons", None)
        if beacons is None:
            return
        if (beacons.meant_for, beacons.samples) != (self.task, samples):
            raise ConfigurationError(
                f"training {self.task} with {samples} samples by {policy.name}: its beacons are for "
                f"{beacons.meant_for} with {beacons.samples}; make beacons of this task's runs, or run "
                f"fisherscope beacons with --for {self.task} --samples {samples}"
            )

    def identity(self) -> dict[str, Any]:
        """Return what run.json holds: each key's plain value, of the device its type alone.

        Returns:
            Values by key.
        """
        return self.model_dump() | {"device": self.device_type}

    @property
    def device_type(self) -> str:
        """The device without its number: a run on cuda:1 is that on cuda:0."""
        return self.device.partition(":")[0]

    @property
    def id(self) -> str:
        """The run's name: readable, with a hash of the values that are not default."""
        name: str = fs.runs.run_id(self.identity(), _defaults())
        return name

    def path_in(self, root: str | os.PathLike[str]) -> Path:
        """Find the run's directory among the runs of `root`.

        Version 0.1 gave a run on another device number another name; such a run is found too.

        Args:
            root: Directory of the runs.

        Returns:
            The directory that holds the run, or the one that it will get.

        Example:
            ```python
            from fisherscope.training import Configuration

            config = Configuration.of({"task": "digits/mlp", "device": "cuda:1"})
            assert config.path_in("runs/absent").name == config.id
            assert config.id == Configuration.of({"task": "digits/mlp", "device": "cuda"}).id
            ```
        """
        path = Path(root) / self.id
        if os.path.exists(path) or not os.path.isdir(root):  # Path raises for absurd names
            return path
        numbered = (self.identity() | {"device": f"{self.device_type}:{k}"} for k in range(DEVICE_NUMBERS))
        earlier = (Path(root) / fs.runs.run_id(values, _defaults()) for values in numbered)
        return next((other for other in earlier if fs.runs.is_run(other)), path)


def _with_task_settings(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in the task's own settings where nothing else is given; a policy says its schedule itself."""
    own = fs.tasks.settings(str(values.get("task")))
    given = {key: value for key, value in values.items() if value is not None}
    policy = given.get("policy")
    left_out: set[str] = set()
    if policy is not None:
        left_out = {"batch_size", "schedule", "warmup"}
        if fs.policy.rate_in(str(policy)) is not None:
            left_out.add("lr")
    return {**values, **{key: own[key] for key in own if key not in given and key not in left_out}}


def _defaults() -> dict[str, Any]:
    return {name: field.default for name, field in Configuration.model_fields.items() if name != "task"}


def _first_size(policy: Any) -> int:
    _, decision = policy.update(policy.init(), fs.policy.Observation(0, 0, 1 << 30, None))
    return int(decision.batch_size)
