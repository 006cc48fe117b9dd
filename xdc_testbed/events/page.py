"""The watching page: what happens on the way from storage events to results, live in a browser.

    python -m xdc_testbed.events.page --config /etc/xdc-testbed/event-router.toml

It reads the topics as a user who may only read, so that one page shows all routers and dispatchers, and a slow
browser delays none of them. `/` is the page, `/live` its pictures by SSE, `/picture` the present one, `/metrics` for
Prometheus. On loopback everybody may look; elsewhere only over TLS with the token.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib.resources
import ipaddress
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from xdc_testbed.errors import WrongUsage
from xdc_testbed.events import service
from xdc_testbed.events.feed import Feed
from xdc_testbed.events.kafka import EVENTS, INVOCATIONS, BrokerUnavailable, Connection, KafkaSection, read_config
from xdc_testbed.events.watch import TOPICS, Picture, sse

log = logging.getLogger(__name__)

_GROUPS = {"router": EVENTS, "dispatcher": INVOCATIONS}
_LAG_EVERY = 2.0
_ANSWER = 5.0
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PageSection(BaseModel):
    """The `[page]` table. listen: `address:port`; beyond loopback it needs certificate, key and token_file.

    every: seconds between two pictures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str | None = None
    password_file: Path | None = None
    listen: str = Field(default="127.0.0.1:8790", pattern=r"^[0-9a-f.:\[\]]+:\d+$")
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    every: float = Field(default=1, ge=0.1)

    @model_validator(mode="after")
    def _closed_beyond_loopback(self) -> PageSection:
        if not self.is_loopback and None in (self.certificate, self.key, self.token_file):
            raise ValueError("beyond loopback the page needs certificate, key and token_file")
        return self

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether nobody beyond this machine can ask."""
        return ipaddress.ip_address(self.host).is_loopback


class PageConfig(BaseModel):
    """The file given with --config; tables of other services in it are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kafka: KafkaSection
    page: PageSection


class Observer:
    """Keeps a picture up to date from the broker, in threads that end with the program."""

    def __init__(self, connection: Connection, picture: Picture) -> None:
        self._connection = connection
        self._picture = picture
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin, one reader for each topic."""
        for topic in TOPICS:
            threading.Thread(target=self._follow, args=(topic,), name=topic, daemon=True).start()
        threading.Thread(target=self._measure, name="lag", daemon=True).start()

    def _follow(self, topic: str) -> None:
        while True:
            try:
                with Feed(self._connection, topic) as feed:
                    feed.from_now()
                    while True:
                        entry = feed.next(0.5)
                        if entry is not None:
                            with self._lock:
                                self._picture.take(topic, entry.value, now=time.time())
            except (BrokerUnavailable, KafkaException) as error:
                log.warning("%s: %s", topic, error)
                time.sleep(1)

    def _measure(self) -> None:
        client = AdminClient({**self._connection.settings(), "logger": log})
        while True:
            lags: dict[str, int] = {}
            for group, topic in _GROUPS.items():
                try:
                    lags[group] = lag(client, group, topic)
                except (KafkaException, TimeoutError) as error:
                    log.info("lag of %s: %s", group, error or "no answer")
            self._picture.lag = lags
            time.sleep(_LAG_EVERY)


def lag(client: AdminClient, group: str, topic: str) -> int:
    """Records of a topic that a group has not committed. Raises KafkaException, TimeoutError."""
    parts = client.list_topics(topic, timeout=_ANSWER).topics[topic].partitions
    places = [TopicPartition(topic, number) for number in parts]
    ends = {
        place.partition: found.result(_ANSWER).offset
        for place, found in client.list_offsets({place: OffsetSpec.latest() for place in places}).items()
    }
    asked = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])[group].result(_ANSWER)
    return sum(ends[place.partition] - max(0, place.offset) for place in asked.topic_partitions)


def application(picture: Picture, *, every: float, token: str | None = None) -> Starlette:
    """The web application. token: None for everybody; else it comes as bearer token, or once as `?token=`."""
    page = importlib.resources.files("xdc_testbed.events").joinpath("page.html").read_bytes()

    def allowed(request: Request) -> bool:
        if token is None:
            return True
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = (bearer, request.query_params.get("token", ""), request.cookies.get("xdc_page", ""))
        return any(hmac.compare_digest(each.encode(), token.encode()) for each in given if each)

    def refused() -> Response:
        return PlainTextResponse("token needed\n", 401, {"WWW-Authenticate": "Bearer", **_HEADERS})

    async def index(request: Request) -> Response:
        if not allowed(request):
            return refused()
        answer = Response(page, media_type="text/html", headers=_HEADERS)
        if token is not None:
            answer.set_cookie("xdc_page", token, secure=True, httponly=True, samesite="strict")
        return answer

    async def present(request: Request) -> Response:
        return JSONResponse(picture.to_json(now=time.time()), headers=_HEADERS) if allowed(request) else refused()

    async def metrics(request: Request) -> Response:
        if not allowed(request):
            return refused()
        return PlainTextResponse(picture.exposition(now=time.time()), media_type="text/plain; version=0.0.4")

    async def live(request: Request) -> Response:
        async def pictures() -> AsyncIterator[bytes]:
            while True:
                yield sse(picture.to_json(now=time.time()))
                await asyncio.sleep(every)

        if not allowed(request):
            return refused()
        return StreamingResponse(pictures(), media_type="text/event-stream", headers=_HEADERS)

    routes = [("/", index), ("/picture", present), ("/metrics", metrics), ("/live", live)]
    return Starlette(routes=[Route(path, answer) for path, answer in routes])


def _start(path: Path) -> int:
    config = read_config(path, PageConfig)
    section = config.page
    picture = Picture()
    service.stop_on_signals()  # uvicorn raises again what stopped it, and this ends well
    Observer(config.kafka.as_user(section.user, section.password_file), picture).start()
    uvicorn.run(
        application(picture, every=section.every, token=_token(section)),
        host=section.host,
        port=section.port,
        ssl_certfile=section.certificate,
        ssl_keyfile=section.key,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    return 0


def _token(section: PageSection) -> str | None:
    if section.token_file is None:
        return None
    try:
        token = section.token_file.read_text().strip()
    except OSError as error:
        raise WrongUsage(
            f"page: token file {section.token_file}: {error.strerror}",
            remedy="run the service as the user that may read it",
        ) from None
    if len(token) < 16:
        raise WrongUsage(f"page: the token in {section.token_file} is too short", remedy="give 16 characters or more")
    return token


if __name__ == "__main__":
    sys.exit(service.run("event-page", "What happens to storage events, live in a browser", _start))
