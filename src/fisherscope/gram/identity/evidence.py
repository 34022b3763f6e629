"""How it is known whose a call's rows are, and what to say where it is not."""

from __future__ import annotations

from fisherscope.gram.identity.survey import Survey

VERIFIED, DERIVED, GIVEN, UNVERIFIED = "verified", "derived", "given", "unverified"
UNKNOWN = (
    "`{name}` is a function whose backward is not torch's own: the batch was run in another order to see "
    "whether it moves rows. fs.register_row_mover({name}) has rows read through it instead"
)


def weakest(evidence: set[str]) -> str:
    """How sure a step is of whose its rows are: as sure as of the call of which it is least."""
    return next((kind for kind in (UNVERIFIED, DERIVED, GIVEN, VERIFIED) if kind in evidence), UNVERIFIED)


def way_out(survey: Survey) -> str:
    """Say what lets rows be read where a function of the user's own is in the way."""
    if not survey.unknown:
        return ""
    name = survey.unknown[0]
    return (
        f" through `{name}`, a function of your own: if its backward has no side effects, "
        f"fs.register_row_mover({name}) has them read"
    )
