"""Monitor and step share a `MonitorState`, and nothing else."""

import ast
import inspect

import pytest
from tests.cases.monitor_loop import Loop, MemoryRun

from fisherscope.monitor import monitor as monitor_module
from fisherscope.monitor import state as state_module
from fisherscope.monitor import step as step_module


def test_a_monitors_attributes_are_those_that_its_steps_read():
    loop = Loop(every=1)
    run, rows = MemoryRun(), []
    loop.monitor.run, loop.monitor.strict, loop.monitor.on_measure = run, True, [rows.append]
    loop.run(1)
    assert run.rows == rows == [loop.monitor.measurement]
    with pytest.raises(ValueError, match="received 3 ids"):
        loop.take(slice(0, 16), ids=[1, 2, 3])


def test_steps_and_monitor_do_not_reach_into_each_other():
    """They share a `MonitorState`; neither file names a private attribute of anything but itself."""
    for module in (monitor_module, step_module, state_module):
        tree = ast.parse(inspect.getsource(module))
        private = {
            ast.unparse(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and node.attr.strip("_") == node.attr[1:]
        }
        assert not {name for name in private if not name.startswith("self._")} - {
            "nn.modules.batchnorm._BatchNorm"
        }
    assert "fisherscope.monitor.monitor" not in inspect.getsource(step_module)
