"""From a manifest to plans that are proven and timed, with a report."""
