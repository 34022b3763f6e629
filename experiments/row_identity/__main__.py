"""Draw models that move rows, measure each on six batches, compare with a loop over samples, and count.

python -m experiments.row_identity --models 2000
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import Counter, defaultdict
from pathlib import Path

import torch
from tests.cases.row_movements import CALLS, Drawn, draw

import fisherscope as fs
from fisherscope.tasks import subject_of

RESULT = Path(__file__).parents[1] / "results" / "row-identity.json"
EXACT = 1e-9


def verdict_of(drawn: Drawn) -> str:
    """Measure one drawn model on six batches, five after it is known: exact, refused or wrong."""
    others = [drawn.another(k) for k in (len(drawn.x), 1, 2, 3, 4)]
    verdicts = [_verdict_of(batch) for batch in (drawn, *others)]
    return next((verdict for verdict in ("wrong", "refused") if verdict in verdicts), "exact")


def _verdict_of(drawn: Drawn) -> str:
    """Measure one batch."""
    wanted = drawn.gram()
    drawn.model.zero_grad()  # gradients of an earlier step would be part of this one
    try:
        with fs.record_gram(drawn.model, batch=0) as record:
            drawn.loss().backward()
    except fs.gram.GramError:
        return "refused"
    if record.status != "ok":
        return "refused"  # by a status that says why
    if record.gram.shape != wanted.shape:
        return "wrong"
    return "exact" if float((record.gram - wanted).norm() / wanted.norm()) < EXACT else "wrong"


def doctor_of(drawn: Drawn) -> bool | None:
    """Whether `fs.examine` calls the Gram exact; None where the loss does not call the model once."""
    if drawn.calls != CALLS[0]:
        return None

    def loss(model: torch.nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x, lengths, y = batch
        return torch.nn.functional.cross_entropy(model(x, lengths), y)

    batch = (drawn.x, drawn.lengths, drawn.y)
    subject = subject_of(drawn.model, loss, batch=batch, record={"batch": 0})
    return fs.examine(subject, seconds=0).exact


def main() -> None:
    """Draw, measure, count, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=2000)
    parser.add_argument("--doctor-every", type=int, default=20, help="Examine one model in so many.")
    parser.add_argument("-o", "--out", type=Path, default=RESULT)
    options = parser.parse_args()
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    whole: Counter[str] = Counter()
    doctor: Counter[str] = Counter()
    wrong = []
    for seed in range(options.models):
        drawn = draw(seed)
        verdict = verdict_of(drawn)
        whole[verdict] += 1
        for kind in set(drawn.kinds):
            by_kind[kind][verdict] += 1
        if verdict == "wrong":
            wrong.append(seed)
        if seed % options.doctor_every == 0 and (said := doctor_of(draw(seed))) is not None:
            doctor[f"{verdict}, doctor says {'exact' if said else 'not proven'}"] += 1
    result = {
        "command": f"python -m experiments.row_identity --models {options.models}",
        "fisherscope": fs.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "verdicts": dict(whole),
        "wrong_seeds": wrong,
        "by_kind": {kind: dict(counts) for kind, counts in sorted(by_kind.items())},
        "doctor": dict(doctor),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for kind, counts in sorted(by_kind.items()):
        print(f"{kind:24} {dict(counts)}")
    print(dict(whole), dict(doctor))


if __name__ == "__main__":
    main()
