"""Import a framework that an integration needs, or say how to install it."""

from importlib import import_module
from typing import Any


class MissingFrameworkError(ImportError):
    """The framework of an integration is not installed."""


def import_framework(module: str, extra: str) -> Any:
    """Import a module of a framework.

    Args:
        module: Its dotted name.
        extra: The extra of fisherscope that installs it.

    Returns:
        The module.

    Raises:
        MissingFrameworkError: It, or something that it needs itself, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingFrameworkError(
            f"loading fisherscope.integrations.{extra}: {module} can't be imported ({error}); install it "
            f"with pip install 'fisherscope[{extra}]'"
        ) from error
