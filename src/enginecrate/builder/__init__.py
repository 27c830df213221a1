"""From a manifest to plans that are proven and timed, with a report.

`run` is the whole build. The rooms below are its steps, in this order: project, graphs (with
accuracy and quantization), plans, proof, report. The server uses project, golden and ladder; the
commands use run, scaffold and conformance, too.
"""
