"""What makes a run: the configuration, checked at the border, with one home for every default."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

import fisherscope as fs

NUMBERS = (int, float, int | None)


class ConfigurationError(ValueError):
    """A configuration has an unknown key or a value out of range."""


class Configuration(BaseModel):
    """One run. Two runs of equal configurations are the same run; where it is stored is no part of it.

    The defaults are the paper's (Liao et al. 2020, section 4): Nesterov SGD, rate over 10 at 50 % and 75 %.
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
    per_epoch: int | None = Field(None, gt=0)  # so many measurements an epoch, in place of `every`
    stride: bool = False
    measure: bool = True
    limit_train: int | None = Field(None, gt=0)
    micro_batch: int | None = Field(None, gt=0)  # samples in memory at once; a larger batch is accumulated
    validation: bool = True
    augment: bool | None = None  # by default as the task has it
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    device: str = "cpu"
    threads: int | None = Field(None, gt=0, le=4096)  # more of them end some systems' processes

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in NUMBERS:
            raise ValueError("expected a number")
        return value

    @classmethod
    def of(cls, given: Configuration | Mapping[str, Any]) -> Configuration:
        """A configuration from a mapping, the policy's name in full, its first size and rate.

        Raises:
            ConfigurationError: A key is unknown (the nearest is named), a value is out of its range, or batch
                size, rate or `measure` contradict the policy.
        """
        if isinstance(given, Configuration):
            return given
        if not isinstance(given, Mapping):
            raise ConfigurationError(
                f"configuring a run: received {type(given).__name__}; expected a mapping of settings, "
                'such as {"task": "digits/resnet8"}'
            )
        unknown = [key for key in given if key not in cls.model_fields]
        if unknown:
            asked = str(unknown[0]).replace("-", "_")
            near = difflib.get_close_matches(asked, list(cls.model_fields), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(cls.model_fields)}"
            raise ConfigurationError(f"configuring a run: {unknown[0]!r} is unknown; {hint}")
        try:
            made = cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            said = first["msg"].removeprefix("Value error, ").lower()
            got = f", received {first['input']!r}" if first["type"] != "missing" else ""
            raise ConfigurationError(f"configuring a run: {place}: {said}{got}") from error
        named = None if made.policy is None else fs.policy.rate_in(made.policy)
        if named is not None and given.get("lr") is None:
            made = made.model_copy(update={"lr": named})
        policy = made.policy_of(f"s{made.batch_size}" if made.policy is None else made.policy)
        if policy.closed_loop and not made.measure:
            raise ConfigurationError(
                f"configuring a run: the policy {policy.name} reads measurements, and measure=false takes "
                "none; leave one of the two out"
            )
        size = _first_size(policy)
        told_twice = given.get("policy") is not None and given.get("batch_size") is not None
        if told_twice and size != made.batch_size:
            raise ConfigurationError(
                f"configuring a run: batch_size {made.batch_size} and the policy {policy.name}, which begins "
                f"with {size}, contradict each other; give one of the two"
            )
        return made.model_copy(update={"policy": policy.name, "batch_size": size})

    def policy_of(self, name: str | None = None) -> Any:
        """The policy by its name.

        Raises:
            ValueError: There is none of that name.
        """
        text = str(self.policy) if name is None else name
        return fs.policy.parse(text, lr=self.lr, epochs=self.epochs)

    def check_policy(self, policy: Any, samples: int) -> None:
        """Refuse a policy that is not for this run.

        Args:
            policy: Of `policy_of`.
            samples: Training samples.

        Raises:
            ConfigurationError: Its beacons are of another task, or for epochs of another length.
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
                f"{beacons.meant_for} with {beacons.samples}; make them of this task's runs, or say --for "
                f"{self.task} --samples {samples} to fisherscope beacons"
            )

    def identity(self) -> dict[str, Any]:
        """What run.json holds: every key, plain values."""
        return self.model_dump()

    @property
    def id(self) -> str:
        """The run's name: readable, with a hash of what is not default."""
        name: str = fs.runs.run_id(self.identity(), _defaults())
        return name


def _defaults() -> dict[str, Any]:
    return {name: field.default for name, field in Configuration.model_fields.items() if name != "task"}


def _first_size(policy: Any) -> int:
    _, decision = policy.update(policy.init(), fs.policy.Observation(0, 0, 1 << 30, None))
    return int(decision.batch_size)
