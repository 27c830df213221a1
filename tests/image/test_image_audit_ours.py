"""The image that we build has nothing to find."""

from pathlib import Path

from enginecrate.image.audit.audit import audit_image
from enginecrate.image.audit.rules.rule_data import Severity
from enginecrate.image.transports.layout import Layout
from sample_image import TAG


def test_nothing_above_info(built_image: Path):
    report = audit_image(Layout(built_image), TAG)
    assert report.at_least(Severity.LOW) == []
    # Not signed yet; whatever else there is would be news.
    assert {one.rule for one in report.findings} <= {"EC-IMG-070"}
    assert [one.ignored for one in report.images] == [()]
    assert report.images[0].entries > 1000
