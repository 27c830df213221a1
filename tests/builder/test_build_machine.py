from pathlib import Path

from enginecrate.builder.report.build_machine import describe_machine


def test_this_machine():
    facts = describe_machine()
    assert facts.processor
    assert facts.cores >= 1
    assert facts.packages["onnxruntime"][0].isdigit()


def test_the_first_processor_counts(tmp_path: Path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 avx512_vnni\n\n"
        "processor\t: 1\nmodel name\t: Another CPU\n"
    )
    facts = describe_machine(cpuinfo)
    assert facts.processor == "Some CPU @ 2 GHz"
    assert facts.features == ("avx2", "avx512_vnni")


def test_a_machine_without_cpuinfo(tmp_path: Path):
    facts = describe_machine(tmp_path / "none")
    assert facts.processor
    assert facts.features == ()
