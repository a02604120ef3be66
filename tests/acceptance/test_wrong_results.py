"""Wrong results first: sweeps over the cases that gave a wrong number without an error."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from tests.renamed_columns import Example, check, examples

pytestmark = pytest.mark.soak

counts: Counter[bool] = Counter()


@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(examples())
def test_2_columns_of_any_name_and_type_change_no_score(example: Example) -> None:
    counts[check(example)] += 1


def test_2_most_examples_gave_scores() -> None:
    print(f"\nexamples with equal tables: {counts[True]:,}; with the same typed error: {counts[False]:,}")
    assert counts[True] >= 1_000
