"""REST with two front ends."""

import pytest
import test_server_rest
from two_front_ends import taken_over

# With front ends the bodies of health checks say how many there are.
globals().update(taken_over(test_server_rest, without=("test_health_bodies",)))

pytestmark = pytest.mark.full
