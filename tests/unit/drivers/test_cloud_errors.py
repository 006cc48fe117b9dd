"""What a cloud refuses leaves as one line with the way out, and the documented exit code."""

from __future__ import annotations

import keystoneauth1.exceptions as auth
import openstack.exceptions as sdk
import pytest

from xdc_testbed.drivers.cloud import told
from xdc_testbed.errors import RequirementMissing, XdcError

_POOL = "HTTPSConnectionPool(host='c', port=1): Max retries exceeded with url: /v3 (Caused by X([Errno 111] refused))"


@pytest.mark.parametrize(
    ("failure", "code", "message", "remedy"),
    [
        (auth.Unauthorized("wrong"), 3, "does not accept these credentials", "clouds.yaml"),
        (auth.NotFound("Could not recognize Fernet token"), 3, "does not accept these credentials", "token"),
        (auth.NotFound("Could not find project"), 1, "Could not find project", "again"),
        (auth.EndpointNotFound("compute"), 3, "has no such service", "region_name"),
        (auth.ConnectFailure(f"Unable to connect: {_POOL}"), 1, "cannot be reached", "auth_url"),
        (sdk.ConfigException("Cloud x was not found."), 3, "Cloud x was not found", "openstack.cloud"),
        (sdk.ConfigException("endpoint in Nowhere region not found"), 3, "Nowhere", "region_name"),
        (OSError("Could not find a suitable TLS CA certificate bundle"), 3, "certificate bundle", "cacert"),
        (sdk.HttpException("500: Server Error"), 1, "500: Server Error", "again"),
    ],
)
def test_a_failure_of_the_cloud_is_one_line_with_what_to_do(
    failure: Exception, code: int, message: str, remedy: str
) -> None:
    with pytest.raises(XdcError, match=r"^cloud mine: ") as caught, told("cloud mine"):
        raise failure
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert "Max retries" not in caught.value.message
    assert remedy in (caught.value.remedy or "")
    assert caught.value.exit_code == code


def test_what_is_missing_is_a_requirement() -> None:
    with pytest.raises(RequirementMissing), told("x"):
        raise auth.Unauthorized("no")
