"""A short soak test of requests: right answers, errors for broken ones, flat memory."""

import pathlib
import re

import pytest
from processes import start

SOAK = pathlib.Path(__file__).parents[2] / "scripts" / "soak_requests.py"


@pytest.mark.slow
def test_some_hundred_requests_are_answered_rightly_in_flat_memory():
    process = start(SOAK, "--requests=400", backend="tensorflow")
    printed, errors = process.communicate(timeout=580)
    assert process.returncode == 0, printed + errors
    broken = re.findall(r"(\d+) broken of (?:serve_bytes|serving_default)", printed)
    assert len(broken) == 2 and sum(map(int, broken)) == 20
    assert "Wrong answers, or broken requests without an error: 0." in printed
