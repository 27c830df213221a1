"""How much memory a program took at most."""

PEAK_KILOBYTES = """
def peak_kilobytes():
    # Not ru_maxrss: after a fork it counts what the test runner itself has taken.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
"""
"""Source of a function for the program that is measured (Linux, proc(5), `VmHWM`)."""
