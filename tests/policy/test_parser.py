"""Names of policies, and mistakes in them."""

import pytest
from tests.cases.policy_runs import parsed

from fisherscope.policy import (
    parse,
)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("s32-to-128-∅", "s32-to-128"),
        ("s32-to-128-0", "s32-to-128"),
        ("s32-constant", "s32+constant"),
        ("s32-lr0.1", "s32"),
        ("s32-to-128-MS-lr0.1", "s32-to-128-MS"),
        ("s32-norm-test-lr1e-1:theta=0.9", "s32-norm-test"),
        ("s32-cabs-constant+linear", "s32-cabs+constant+linear"),
    ],
)
def test_spellings(name, same):
    assert parsed(name).name == same
    assert parsed(name) == parsed(same)
    if "lr" in name.split("+")[0]:
        assert parse(name, epochs=10) == parsed(same)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s32-normtest", "'normtest' is unknown; did you mean norm-test?"),
        ("s32-to-128-MX", "'MX' is unknown; did you mean MS?"),
        ("s32+bound:max=3", "'bound' is unknown; did you mean bounds?"),
        ("s32+bounds:maxi=3", "no option 'maxi'; did you mean max?"),
        ("s32-zzz", "expected one of growth, increase, norm-test"),
        ("adam", "expected a form such as s32"),
        ("s32+multiple", "needs of; write of="),
        ("s32-norm-test:theta=x", "theta='x' is not a number"),
        ("s32+bounds:min=9,max=3", "max=3 lies below min=9; exchange"),
        ("s32-to-100", "not 32 times a power of two; the next ones that are: 64 and 128"),
        ("s0", "must be a whole number of at least 1"),
        ("s1-cabs", "must be a whole number of at least 2"),
        ("s32-lr0.2", "it says lr=0.2, but lr=0.1 was given"),
        ("s32-norm-test:theta=0", "theta=0.0 must be above 0"),
        ("s32-cabs:memory=1", "memory=1.0 must be in"),
        ("s32+decay:at=21/31,by=0.1", "fractions of the run, not epochs"),
        ("s32+decay:at=half", "expected decay:at=0.5/0.75,by=0.1"),
        ("s32-to-64:x=1", "a staged schedule has no options"),
        ("s32+hysteresis:ratio=1", "ratio=1.0 must be above 1"),
        ("s32-cabs:least=64,most=32", "expected 2 <= least=64 <= most=32"),
        ("s32+growth-limit:epochs=inf", "epochs=inf must be above 1e-06 and finite"),
        ("s32+growth-limit:epochs=1e-9", "epochs=1e-09 must be above 1e-06"),
        ("s32+growth-limit:factor=inf", "factor=inf must be above 1 and finite"),
        ("s32-growth:factor=inf", "factor=inf must be above 1 and finite"),
        ("s32+decay:at=./.,by=0.1", "expected decay:at=0.5/0.75,by=0.1"),
        ("s" + "9" * 5000, "expected a form such as s32"),
    ],
)
def test_wrong_names_say_what_to_do(name, message):
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        parsed(name)
