"""REST and predictions with two front ends."""

import test_server_predict
import test_server_rest
from two_front_ends import taken_over

globals().update(taken_over(test_server_rest, test_server_predict))
