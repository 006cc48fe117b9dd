"""`bundle`: a bounded, redacted support archive."""

from __future__ import annotations

import typer

from xdc_testbed.cli.options import Name, StateDir, testbed
from xdc_testbed.testbed import support

app = typer.Typer()


@app.command()
def bundle(name: Name = None, state_dir: StateDir = None) -> None:
    """Collect state, logs and journals into one archive; secrets are replaced by ***."""
    bed = testbed(name, state_dir)
    bed.require()
    print(support.bundle(bed))
