"""A framework that an integration needs, or an error that says how to get it."""

from importlib import import_module
from typing import Any


class MissingFrameworkError(ImportError):
    """The framework of an integration is not installed."""


def required(module: str, extra: str) -> Any:
    """The module of a framework.

    Args:
        module: As `import` names it.
        extra: Of fisherscope, which installs it.

    Raises:
        MissingFrameworkError: It is not there, or something that it needs itself.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingFrameworkError(
            f"loading fisherscope.integrations.{extra}: {module} can't be imported ({error}); install it by "
            f"pip install 'fisherscope[{extra}]'"
        ) from error
