"""What the role event_router writes for a source is what that source reads."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import pytest
from pydantic import BaseModel

from xdc_testbed import content
from xdc_testbed.events.kafka import read_config
from xdc_testbed.events.sources.dcache_kafka import KafkaSourceConfig
from xdc_testbed.events.sources.dcache_sse import SseSourceConfig
from xdc_testbed.events.sources.reconcile import ReconcileConfig
from xdc_testbed.events.sources.xrootd import SourceConfig

VARIABLES = {
    "kafka_bootstrap": "events.test:9093",
    "testbed_name": "bed",
    "inventory_hostname": "desy-storage",
    "event_router_journal": "/var/log/journal",
    "event_router_metrics_port": 9400,
    "event_router_watched": ["/data"],
    "event_router_reconcile_seconds": 30,
    "event_router_reconcile_grace": 60,
    "dcache_billing_topic": "billing",
    "_event_router_ca_file": "/etc/ca.pem",
    "_event_router_source_secret": "/etc/event-source.secret",
    "_event_router_frontend_secret": "/etc/frontend.secret",
    "_event_router_told": True,
    "_event_router_storage": {
        "urls": {"frontend": "https://storage.test:3880"},
        "issuer": "https://issuer.test",
        "client_id": None,
    },
}


@pytest.mark.parametrize(
    ("module", "model"),
    [
        ("xrootd", SourceConfig),
        ("dcache_kafka", KafkaSourceConfig),
        ("dcache_sse", SseSourceConfig),
        ("reconcile", ReconcileConfig),
    ],
)
def test_the_file_of_a_source_is_read_by_it(module: str, model: type[BaseModel], tmp_path: Path) -> None:
    engine = jinja2.Environment(  # noqa: S701 - what it writes is no HTML
        loader=jinja2.FileSystemLoader(content.root() / "roles" / "event_router" / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    engine.filters["to_json"] = json.dumps
    source = {"name": "event-source", "module": module}
    text = engine.get_template("event-source.toml.j2").render(VARIABLES, __event_router_source=source)
    (tmp_path / "source.toml").write_text(text)
    config = read_config(tmp_path / "source.toml", model)
    assert config.model_dump()["source"]["endpoint"] == "desy-storage"
