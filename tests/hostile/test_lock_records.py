"""Lock records that another wrote: never a traceback, never a lock that is taken from a living writer."""

from __future__ import annotations

import errno
import fcntl
import json
import socket
from pathlib import Path

import pytest

import fisherscope as fs
from fisherscope.runs.lock import _boot, holder

PIDS = ["null", "[]", "{}", '"x"', "1e400", str(10**20), "-1", "0", "true", "1.5", "[" * 2000]


@pytest.mark.parametrize("pid", PIDS, ids=lambda pid: pid[:12])
@pytest.mark.parametrize("locks", [True, False])
def test_a_foreign_record_is_no_traceback(
    tmp_path: Path, pid: str, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not locks:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr(fcntl, "lockf", refuse)
    path = tmp_path / "lock"
    here = f'"host": {json.dumps(socket.gethostname())}, "boot": {json.dumps(_boot())}'
    path.write_text(f'{{{here}, "since": ["x"], "pid": {pid}}}')
    holder(path)
    said = ""
    try:
        fs.open_run(tmp_path, {"seed": 0}).close()
    except fs.runs.RunLockedError as error:
        said = str(error)
    assert len(said) < 600
    assert not (locks and said)
