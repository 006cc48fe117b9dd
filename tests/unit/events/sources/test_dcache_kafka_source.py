"""Billing records become StorageEvents: completed, in order, once, and never for what has failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from billing_records import CAPTURES, PNFSID, captured, upload
from hypothesis import given, settings
from hypothesis import strategies as st
from source_stand_ins import Namespace, Told

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events.intake import Record
from xdc_testbed.events.kafka import read_config
from xdc_testbed.events.metrics import Counters
from xdc_testbed.events.model import StorageEvent
from xdc_testbed.events.offsets import OffsetTracker
from xdc_testbed.events.sources.billing import Deleted, Written, parse
from xdc_testbed.events.sources.dcache_kafka import KafkaSourceConfig, KafkaSourceTable, Teller
from xdc_testbed.events.sources.frontend import FrontendTable
from xdc_testbed.events.sources.lookup import Lookup

OTHER = "0000906F121D2493BAEC84146677C48D8000"


class Outcome(Told):
    """What was told, with the counters and the offset that may be committed."""

    counters: Counters
    row: OffsetTracker


def tell(
    records: list[bytes],
    namespace: Namespace | None = None,
    *,
    patience: float = 5,
    required: bool = False,
    seconds: float = 5,
    before_end: Callable[[], None] | None = None,
    **table: Any,
) -> Outcome:
    """Run records through a Teller until all have ended."""
    outlet = Outcome()
    outlet.counters, outlet.row = Counters("test"), OffsetTracker()

    async def run() -> None:
        frontend = FrontendTable(
            url="https://frontend.test", token_file=Path("/x"), patience=patience, required=required
        )
        lookup = None if namespace is None else Lookup(frontend, outlet.counters, namespace.client())
        source = KafkaSourceTable(testbed="bed", endpoint="dcache", **table)
        teller = Teller(source, lookup, outlet, outlet.counters, lambda record: outlet.row.end(record.offset))  # type: ignore[arg-type,func-returns-value]
        batch = [Record(0, number, 0.0, value, outlet.row) for number, value in enumerate(records)]
        for record in batch:
            outlet.row.start(record.offset)
        teller.accept(batch)
        if before_end is not None:
            await asyncio.sleep(0.05)
            before_end()
        deadline = time.monotonic() + seconds
        while teller.outstanding:
            assert time.monotonic() < deadline, f"{teller.outstanding} records have not ended"
            if teller.failure.done():
                teller.failure.result()
            await asyncio.sleep(0.001)
        if lookup is not None:
            lookup.close()

    asyncio.run(run())
    assert outlet.row.committable == (len(records) or None)
    return outlet


def words(told: Told) -> list[tuple[str, str]]:
    return [(each.type.word, each.subject) for each in told.events]


def test_an_upload_told_over_both_paths_is_one_event_with_its_checksum() -> None:
    namespace = Namespace()
    namespace.put("/data/w1.bin", PNFSID, size=200000, checksum="c5914b73")
    told = tell(captured("webdav-http-upload"), namespace)
    (event,) = told.events
    assert (event.type.word, event.subject, event.source, event.data.storage_id) == (
        "written",
        "/data/w1.bin",
        "xdc://bed/dcache",
        PNFSID,
    )
    assert (event.data.size, event.data.checksums, event.data.user) == (200000, {"adler32": "c5914b73"}, "tester")
    assert event.data.closed_at == pytest.approx(1795466919.036)
    assert (told.counters.get("repeated"), namespace.asked) == (2, ["/data/w1.bin"])


@pytest.mark.parametrize("path", ["b", "ab"])
@pytest.mark.parametrize("capture", sorted(each.stem for each in CAPTURES.glob("*.jsonl")))
def test_the_records_of_a_capture_become_the_events_of_what_they_mean(capture: str, path: str) -> None:
    records = captured(capture, path)
    facts = [parse(record) for record in records]
    written = {("written", each.path) for each in facts if isinstance(each, Written)}
    deleted = {("deleted", each.path) for each in facts if isinstance(each, Deleted)}
    assert sorted(words(tell(records))) == sorted(written | deleted)


def test_without_a_frontend_an_upload_has_its_size_only() -> None:
    (event,) = tell(captured("webdav-http-upload", "b")).events
    assert (event.data.size, event.data.checksums) == (200000, {})


@pytest.mark.parametrize(
    "capture",
    [
        "webdav-put-abort-redirected",
        "webdav-put-abort-proxied",
        "webdav-redirected-badmd5",
        "webdav-put-md5bad",
        "tpc-pull-404",
        "tpc-pull-short",
        "tpc-cancel-client",
    ],
)
def test_a_failed_upload_is_never_told_although_its_file_may_be_there(capture: str) -> None:
    told = tell(captured(capture))
    assert told.events == []
    assert told.counters.get("failed_uploads") > 0


def test_an_overwritten_file_is_told_again() -> None:
    first, second = tell(captured("webdav-http-upload", "b") + captured("webdav-overwrite", "b")).events
    assert first.subject == second.subject
    assert first.id != second.id


def test_a_removed_file_is_told_once_and_replicas_are_not() -> None:
    assert words(tell(captured("webdav-delete"))) == [("deleted", "/data/w1.bin")]


def test_reads_are_told_when_wanted() -> None:
    records = captured("webdav-http-download")
    assert tell(records).events == []
    assert words(tell(records, kinds={"read"})) == [("read", "/data/w1.bin")]


def test_temporary_names_and_other_folders_are_nobodys_business() -> None:
    records = [
        upload("/data/raw/a.h5", pnfsid=PNFSID),
        upload("/data/raw/b.h5.part-1", pnfsid=OTHER),
        upload("/data/rawer/c.h5", pnfsid=OTHER),
    ]
    assert words(tell(records, folders=("/data/raw/",))) == [("written", "/data/raw/a.h5")]


def test_a_copy_on_tape_is_a_change_of_class() -> None:
    namespace = Namespace()
    namespace.put(
        "/data/qos2.bin",
        "000093C1F215FCDD454A970FB8C0A5A40E4B",
        currentQos="tape",
        fileLocality="ONLINE_AND_NEARLINE",
    )
    (event,) = tell(captured("qos-disk-to-tape"), namespace).events
    assert (event.type.word, event.data.raw["qos"], event.data.raw["locality"]) == (
        "qos-changed",
        "tape",
        "ONLINE_AND_NEARLINE",
    )


def test_a_file_fetched_from_tape_is_staged_when_its_name_may_be_known() -> None:
    namespace = Namespace()
    told = tell(captured("tape-stage"), namespace)
    assert (told.events, told.counters.get("unnamed_restore")) == ([], 2)
    namespace.put("/tape/qos3.bin", "0000A371F5825056436CB93E0392EEB4B5B0", fileLocality="ONLINE_AND_NEARLINE")
    assert words(tell(captured("tape-stage"), namespace)) == [("staged", "/tape/qos3.bin")]


def test_garbage_is_kept_with_its_reason_and_the_rest_goes_on() -> None:
    told = tell([b"{", upload(version="9"), upload("/data/a.h5")])
    assert [reason for _, reason in told.dead] == [
        "dCache record: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "dCache record: transfer of unknown version '9'",
    ]
    assert words(told) == [("written", "/data/a.h5")]


def test_lookups_run_side_by_side_and_each_file_keeps_its_order() -> None:
    namespace = Namespace()
    slow = [f"/data/{number}.h5" for number in range(16)]
    for number, path in enumerate(slow):
        namespace.put(path, f"{number:036X}")
        namespace.delay[path] = 0.2
    removed = captured("webdav-delete", "b")[0].replace(b"/data/w1.bin", b"/data/0.h5")
    records = [upload(path, pnfsid=f"{number:036X}") for number, path in enumerate(slow)]
    began = time.monotonic()
    told = tell([*records, removed, upload("/data/0.h5", pnfsid=OTHER)], namespace)
    assert time.monotonic() - began < 16 * 0.2 / 2
    assert [word for word, path in words(told) if path == "/data/0.h5"] == ["written", "deleted", "written"]


def test_a_file_that_is_gone_or_replaced_is_told_without_checksum_and_says_why() -> None:
    namespace = Namespace()
    namespace.put("/data/b.h5", OTHER)
    gone, replaced = tell([upload("/data/a.h5"), upload("/data/b.h5")], namespace).events
    assert (gone.data.checksums, gone.data.raw["namespace"]) == ({}, "no longer there")
    assert (replaced.data.checksums, replaced.data.raw["namespace"]) == ({}, "another file has this name")


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_when_the_frontend_does_not_say_the_event_comes_after_the_patience(status: int) -> None:
    namespace = Namespace()
    namespace.status = status
    told = tell([upload("/data/a.h5")], namespace, patience=0.2)
    assert (told.events[0].data.size, told.counters.get("unchecked")) == (200000, 1)
    assert str(told.events[0].data.raw["namespace"]).startswith("not looked up: ")


def test_a_required_checksum_is_waited_for() -> None:
    namespace = Namespace()
    namespace.put("/data/a.h5", PNFSID)
    namespace.status = 503

    def back() -> None:
        namespace.status = 200

    told = tell([upload("/data/a.h5")], namespace, patience=0.01, required=True, before_end=back)
    assert told.events[0].data.checksums == {"adler32": "00000001"}


def test_the_size_in_the_namespace_is_the_final_one() -> None:
    namespace = Namespace()
    namespace.put("/data/a.h5", PNFSID, size=9)
    assert tell([upload("/data/a.h5", fileSize=5)], namespace).events[0].data.size == 9


NAMES = st.sampled_from(["/data/a", "/data/b", "/data/c d#%"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(NAMES, st.integers(0, 3), st.sampled_from(["upload", "failed", "garbage"])), max_size=12))
def test_whatever_comes_each_upload_is_told_once_in_its_files_order(plan: list[tuple[str, int, str]]) -> None:
    records = []
    for path, number, what in plan:
        status = {"code": 10004 if what == "failed" else 0, "msg": ""}
        records.append(b"\0" if what == "garbage" else upload(path, pnfsid=f"{number:036X}", status=status))
    told = tell(records)
    wanted = list(dict.fromkeys((path, f"{number:036X}") for path, number, what in plan if what == "upload"))
    for name in {path for path, _, _ in plan}:
        assert [e.data.storage_id for e in told.events if e.subject == name] == [i for p, i in wanted if p == name]
    assert len(told.dead) == sum(what == "garbage" for _, _, what in plan)


def test_replayed_records_have_the_same_ids() -> None:
    def ids(told: Told) -> list[str]:
        return [each.id for each in told.events]

    records = [record for name in ("webdav-http-upload", "webdav-delete", "ftp-upload") for record in captured(name)]
    assert ids(tell(records)) == ids(tell(records))


CONFIG = """
[kafka]
bootstrap = "localhost:9092"
ca_file = "/ca.pem"
[source]
user = "event-source"
password_file = "/secret"
testbed = "bed"
endpoint = "dcache"
[frontend]
url = "https://host:3880"
ca_file = "/ca.pem"
"""


def test_a_configuration_with_everything_is_read(tmp_path: Path) -> None:
    file = tmp_path / "source.toml"
    file.write_text(CONFIG + 'basic_file = "/x"\n')
    config = read_config(file, KafkaSourceConfig)
    assert config.frontend is not None
    assert (config.source.topic, config.frontend.url) == ("billing", "https://host:3880")


def test_a_frontend_without_credential_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "source.toml"
    file.write_text(CONFIG)
    with pytest.raises(WrongUsage, match="give one of token_file"):
        read_config(file, KafkaSourceConfig)


def test_an_event_has_no_words_of_a_credential() -> None:
    def text(events: list[StorageEvent]) -> str:
        return " ".join(each.to_json().decode() for each in events)

    assert "Principal" not in text(tell(captured("webdav-http-upload")).events)
