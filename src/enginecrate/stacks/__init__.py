"""What machines can run: probing the machine, and judging what was found."""
