"""The wire, ends and limits with two front ends."""

import pytest
import test_server_connections
import test_server_lifecycle
import test_server_malformed
import test_server_wire
from two_front_ends import taken_over

_ONE_PROCESS = (
    "test_a_head_that_never_ends",  # they shorten the time for a head in this very process
    "test_a_drip_of_header_bytes_does_not_extend_the_time",
    "test_half_a_head_in_the_packet_of_a_request_has_no_more_time",
    "test_alive_but_not_ready_while_loading",  # its gate opens for one process
    "test_a_project_whose_golden_sample_passes",  # the proof of each front end is counted
    "test_a_wrong_expectation_is_never_ready_and_says_why",  # front ends follow a moment later
    "test_another_model_of_the_same_shape_is_never_ready",
    "test_a_lost_device_ends_the_server_with_its_code",  # the engine process alone ends
)

globals().update(
    taken_over(
        test_server_connections, test_server_lifecycle,
        test_server_malformed, test_server_wire, without=_ONE_PROCESS,
    )
)  # fmt: skip

pytestmark = pytest.mark.full
