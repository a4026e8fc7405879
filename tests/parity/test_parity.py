"""Every reference preset gives the distribution that its reference gives; and a wrong constant is caught.

INITPOLICY_PARITY=1 runs the slow cases too, and tries every wrong constant in place of one of each kind. The rate of
false alarms is stated in `compare`: 1e-3 for all cases together, with seeds that are fixed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from preset_kinds import REFERENCE

from parity.case import Case, cases
from parity.compare import ALL, CASES
from parity.entries import ENTRIES, covered, reasons
from parity.outcome import caught, outcome

HERE = tuple(case for case in cases() if ALL or not case.slow)

pytestmark = [
    pytest.mark.parity,
    # Of the libraries themselves, said while they are imported and their models made.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module", params=HERE, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Both tests of one case run one after the other, and share its samples."""
    found: Case = request.param
    return found


def test_the_preset_is_its_reference(case: Case) -> None:
    found = outcome(case)
    assert found.failures == ()
    assert found.parameters > 0


def test_a_wrong_constant_is_caught(case: Case) -> None:
    tried = dict(caught(case, ALL))
    assert tried
    assert [name for name, seen in tried.items() if not seen] == []


def test_there_are_no_more_cases_than_the_level_is_divided_by() -> None:
    assert len(cases()) <= CASES
    assert len({case.name for case in cases()}) == len(cases())


def test_every_reference_preset_has_a_case() -> None:
    assert sorted(set(REFERENCE) - {case.preset for case in HERE}) == []


def test_every_entry_is_a_preset_or_has_its_reason() -> None:
    made, why = covered(), reasons()
    assert sorted(made.keys() & why.keys()) == []
    assert sorted(set(ENTRIES) - made.keys() - why.keys()) == []
    assert len(ENTRIES) == 118
    assert len(made) >= 70


def test_the_report_is_about_these_cases(root: Path) -> None:
    """It is made by `make parity`, so its figures are of that run; what it lists is checked here."""
    lines = (root / "docs" / "parity.md").read_text().splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("| `")]
    assert [(row[0].strip("`"), row[1]) for row in cells] == [(case.preset, case.model) for case in cases()]
    assert {row[-1] for row in cells} == {"equal"}
