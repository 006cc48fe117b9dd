"""Third-party copy without a network: what the headers say, and which line of the answer is believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xdc_testbed.clients import thirdparty

# As dCache 12.0.1 sent it: a slow source, one marker of three kept.
DCACHE_SLOW = """\
Perf Marker
    Timestamp: 1795469077
    State: Running
    State description: Mover created
    Stripe Index: 0
    Stripe Start Time: 1795469072
    Stripe Last Transferred: 1795469076
    Stripe Transfer Time: 4
    Stripe Bytes Transferred: 327680
    Stripe Status: RUNNING
    Total Stripe Count: 1
    RemoteConnections: tcp:127.0.0.1:18080
End
success: Created
"""

# As XRootD 5.5.3 sends it.
XROOTD_SLOW = """\
Perf Marker
Timestamp: 1795460000
Stripe Index: 0
Stripe Bytes Transferred: 119537664
Total Stripe Count: 1
RemoteConnections: tcp:[::1]:1094,tcp:127.0.0.1:1094
End
Perf Marker
Timestamp: 1795460005
Stripe Index: 0
Stripe Bytes Transferred: 229638144
Total Stripe Count: 1
RemoteConnections: tcp:127.0.0.1:1094
End
failure: Transferred a partial file
"""


def read(text: str, status: int = 201) -> thirdparty.TransferResult:
    return thirdparty.read(text.splitlines(), status)


def test_the_last_line_is_believed_and_not_the_status() -> None:
    assert read("success: Created\n").ok
    denied = read("failure: rejected GET: 403 Forbidden\n", status=202)
    assert not denied.ok
    assert denied.message == "rejected GET: 403 Forbidden"


def test_a_dcache_transcript_gives_its_marker_and_its_success() -> None:
    result = read(DCACHE_SLOW, 202)
    assert result.ok
    (marker,) = result.markers
    assert (marker.timestamp, marker.transferred, marker.state) == (1795469077, 327680, "Running")
    assert marker.connections == ("tcp:127.0.0.1:18080",)


def test_an_xrootd_transcript_gives_its_markers_and_its_failure() -> None:
    result = read(XROOTD_SLOW)
    assert not result.ok
    assert result.message == "Transferred a partial file"
    assert [marker.transferred for marker in result.markers] == [119537664, 229638144]
    assert result.transferred == 229638144
    assert result.markers[0].connections == ("tcp:[::1]:1094", "tcp:127.0.0.1:1094")


def test_an_answer_that_ends_in_the_middle_of_a_marker_is_a_failure() -> None:
    result = read("Perf Marker\n    Timestamp: 1\n    Stripe Index: 0\n")
    assert not result.ok
    assert result.message == "the answer ended without a verdict"


def test_an_empty_answer_is_a_failure() -> None:
    assert not read("", 201).ok


def test_success_in_the_body_of_an_error_status_is_a_failure() -> None:
    assert not read("success: Created\n", 500).ok


def test_a_verdict_inside_an_unfinished_marker_is_believed() -> None:
    assert read("Perf Marker\n Timestamp: 1\nfailure: connection reset\n").message == "connection reset"


def test_the_text_of_a_refusal_is_its_message() -> None:
    assert read("Unable to create\n", 403).message == "Unable to create"
    assert read("", 412).message == "HTTP 412"


def test_the_last_of_two_verdicts_counts() -> None:
    assert not read("success: Created\nfailure: checksum mismatch\n").ok


def test_a_pull_names_the_source_and_hands_its_token_on() -> None:
    headers = thirdparty.pull_headers("https://a.test:8443/f", source_token="T", overwrite=False)
    assert headers == {
        "Source": "https://a.test:8443/f",
        "Credential": "none",
        "Overwrite": "F",
        "TransferHeaderAuthorization": "Bearer T",
    }


def test_a_push_without_token_hands_nothing_on() -> None:
    headers = thirdparty.push_headers("https://b.test:8443/f", destination_token=None, overwrite=True)
    assert headers == {"Destination": "https://b.test:8443/f", "Credential": "none", "Overwrite": "T"}


@given(st.text(), st.integers(min_value=100, max_value=599))
def test_no_answer_makes_the_reader_stumble(text: str, status: int) -> None:
    result = read(text, status)
    assert not result.ok or (200 <= status < 300 and "success" in text.lower())
