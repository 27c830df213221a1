"""Stacks: tested sets of versions, the GPUs that they run on, locks, and the doctor.

`catalog` and `gpus` read the data files, `stack_rules` and `compatibility` judge, `machine` probes
this machine, `lock` is enginecrate.lock, `doctor` gives findings. Packages above engines use it.
"""
