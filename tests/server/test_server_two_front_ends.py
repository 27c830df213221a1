"""Predictions with two front ends."""

import test_server_predict
from two_front_ends import taken_over

globals().update(taken_over(test_server_predict))
