"""The report of a demonstration: one HTML file for somebody from outside, with all its pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import jinja2

from xdc_testbed.demo import figures, latency, words
from xdc_testbed.demo.facts import Phase
from xdc_testbed.demo.judge import Verdict

REPORT_FILE = "report.html"
TEMPLATE = "report.html.j2"
_AROUND = {
    "up": "creating the nodes and configuring their services",
    "interop": "interoperability suite",
    "report": "judging and drawing this report",
    "down": "removing everything",
}


def write_report(
    verdict: Verdict,
    folder: Path,
    *,
    testbed: str = "demo",
    phases: Mapping[str, float] | None = None,
    links: Mapping[str, str] | None = None,
) -> Path:
    """Write report.html into the folder that `judge` looked at, and return its path.

    phases: what was done around the demonstration, name to seconds; links: title to relative URL of other reports.
    """
    around = [
        Phase(name=name, said=_AROUND.get(name, name), seconds=seconds)
        for name, seconds in (phases or {}).items()
        if name != "demo"  # the story has its own, finer ones
    ]
    target = folder / REPORT_FILE
    page = render(folder, verdict, testbed=testbed, phases=around, links=links or {})
    target.write_text(page, encoding="utf-8")
    return target


def render(folder: Path, verdict: Verdict, *, testbed: str, phases: Sequence[Phase], links: Mapping[str, str]) -> str:
    """The report as HTML."""
    story, plan = verdict.story, verdict.manifest.plan
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {word.__name__: word for word in (words.duration, words.size, words.clock, words.thousands)}
    template = environment.from_string(resources.files("xdc_testbed.demo").joinpath(TEMPLATE).read_text("utf-8"))
    pictures = {
        detector: _inline(figures.detector_picture(folder, story, detector, plan.photon_energy))
        for detector in plan.detectors
    }
    return template.render(
        story=story,
        verdict=verdict,
        plan=plan,
        testbed=testbed,
        links=links,
        phases=[*phases, *story.phases],
        sentences=words.sentences(verdict),
        pictures=pictures,
        latencies=latency.latencies(story.files),
        timeline=figures.timeline(story.files),
        failures=[file for file in story.files if file.outcome != "corrected"],
    )


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
