"""The doctor: findings about a machine and a project, each with its cure.

`examine` judges facts and touches nothing, so every finding can be tested with made-up facts.
`bundle` packs them for the vendor's support. Only `cli` uses the doctor.
"""

from __future__ import annotations

from enginecrate.stacks.doctor.findings import Finding
from enginecrate.stacks.doctor.gpus import examine_gpus
from enginecrate.stacks.doctor.project import examine_project
from enginecrate.stacks.doctor.project_facts import ProjectFacts
from enginecrate.stacks.doctor.software import examine_software
from enginecrate.stacks.doctor.system import examine_system
from enginecrate.stacks.machine.machine import Machine

__all__ = ["Finding", "examine"]


def examine(machine: Machine, project: ProjectFacts | None = None) -> list[Finding]:
    """Every finding about a machine, in the order in which a person would fix them.

    Args:
        machine: the facts about it.
        project: a project that it shall build and serve; `None`: any.
    """
    findings = [*examine_system(machine), *examine_gpus(machine), *examine_software(machine)]
    if project is not None:
        findings += examine_project(project, machine)
    return findings
