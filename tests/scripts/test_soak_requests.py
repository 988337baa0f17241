"""A short soak test of requests: right answers, also to broken ones, and flat memory."""

import pathlib
import re

import pytest
from processes import start

SOAK = pathlib.Path(__file__).parents[2] / "scripts" / "soak_requests.py"


@pytest.mark.slow
@pytest.mark.nightly
def test_some_hundred_requests_are_answered_rightly_in_flat_memory():
    process = start(SOAK, "--requests=400", backend="tensorflow")
    printed, errors = process.communicate(timeout=580)
    assert process.returncode == 0, printed + errors
    broken = re.findall(r"(\d+) (?:empty|text|noise|JPEG|PNG|tensor)", printed)
    assert list(map(int, broken)) == [2] * 10
    assert "Wrong answers: 0." in printed
