"""Constant delay of packets in user space, for kernels without netem.

`python -m xdc_testbed.faults.queue_delay QUEUE MS` reads packets from one netfilter queue (the rule that
fills it is the agent's), holds each for the delay and accepts them in order, all that are due with one
message. Payloads never leave the kernel: only the packet numbers do. Standard library only. Sources:
linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_queue.h.
"""

from __future__ import annotations

import argparse
import collections
import logging
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

log = logging.getLogger(__name__)

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
SO_RCVBUFFORCE = 33
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NLMSG_HEADER, NFGEN_HEADER, ATTRIBUTE_HEADER = 16, 4, 4
NLMSG_ERROR = 2

NFNL_SUBSYS_QUEUE = 3 << 8
NFQNL_MSG_PACKET, NFQNL_MSG_CONFIG, NFQNL_MSG_VERDICT_BATCH = 0, 2, 3
NFQA_CFG_CMD, NFQA_CFG_PARAMS, NFQA_CFG_QUEUE_MAXLEN, NFQA_CFG_MASK, NFQA_CFG_FLAGS = 1, 2, 3, 4, 5
NFQNL_CFG_CMD_BIND, NFQNL_COPY_META = 1, 1
NFQA_CFG_F_FAIL_OPEN, NFQA_CFG_F_GSO = 1, 4  # full: let packets pass; large segments come whole
NFQA_PACKET_HDR, NFQA_VERDICT_HDR = 1, 2
NF_ACCEPT = 1
ATTRIBUTE_TYPE = 0x3FFF

QUEUE_LENGTH = 65536  # packets
RECEIVE_BUFFER = 16 << 20  # bytes


class Holding:
    """Packets that wait for their time, in order of arrival. Times are monotonic seconds."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._packets: collections.deque[tuple[float, int]] = collections.deque()

    def add(self, packet: int, now: float) -> None:
        """Hold one more packet."""
        self._packets.append((now + self._delay, packet))

    def due(self, now: float) -> int | None:
        """The last packet whose time has come, which lets go all before it too; None when there is none."""
        last = None
        while self._packets and self._packets[0][0] <= now:
            last = self._packets.popleft()[1]
        return last

    def wait(self, now: float) -> float | None:
        """Seconds until the next packet is due, or None when nothing is held."""
        return max(0.0, self._packets[0][0] - now) if self._packets else None


def attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    length = ATTRIBUTE_HEADER + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def message(kind: int, queue: int, *attributes: bytes, acknowledged: bool = False) -> bytes:
    """One nfnetlink message for a queue."""
    body = struct.pack(">BBH", 0, 0, queue) + b"".join(attributes)
    flags = NLM_F_REQUEST | (NLM_F_ACK if acknowledged else 0)
    return struct.pack("=IHHII", NLMSG_HEADER + len(body), NFNL_SUBSYS_QUEUE | kind, flags, 0, 0) + body


def accept_up_to(queue: int, packet: int) -> bytes:
    """The message that lets go every held packet up to and with this one."""
    return message(NFQNL_MSG_VERDICT_BATCH, queue, attribute(NFQA_VERDICT_HDR, struct.pack(">II", NF_ACCEPT, packet)))


def packets(data: bytes) -> Iterator[int]:
    """The packet numbers in one datagram from the kernel."""
    offset = 0
    while offset + NLMSG_HEADER <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < NLMSG_HEADER:
            return
        if kind == NFNL_SUBSYS_QUEUE | NFQNL_MSG_PACKET:
            number = _packet_number(data[offset + NLMSG_HEADER + NFGEN_HEADER : offset + length])
            if number is not None:
                yield number
        offset += (length + 3) & ~3


def _packet_number(attributes: bytes) -> int | None:
    offset = 0
    while offset + ATTRIBUTE_HEADER <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, offset)
        if length < ATTRIBUTE_HEADER:
            return None
        if kind & ATTRIBUTE_TYPE == NFQA_PACKET_HDR:
            return int(struct.unpack_from(">I", attributes, offset + ATTRIBUTE_HEADER)[0])
        offset += (length + 3) & ~3
    return None


def open_queue(queue: int) -> socket.socket:
    """Bind one netfilter queue. Raises OSError: EPERM without NET_ADMIN, EBUSY when it has a reader."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    link.bind((0, 0))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    try:
        link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        log.info("no right to a larger receive buffer: keeping the system's limit")
    link.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
    flags = struct.pack(">I", NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO)
    for attributes in (
        (attribute(NFQA_CFG_CMD, struct.pack(">BBH", NFQNL_CFG_CMD_BIND, 0, 0)),),
        (attribute(NFQA_CFG_PARAMS, struct.pack(">IB", 0, NFQNL_COPY_META)),),
        (attribute(NFQA_CFG_QUEUE_MAXLEN, struct.pack(">I", QUEUE_LENGTH)),),
        (attribute(NFQA_CFG_FLAGS, flags), attribute(NFQA_CFG_MASK, flags)),
    ):
        link.send(message(NFQNL_MSG_CONFIG, queue, *attributes, acknowledged=True))
        _check_acknowledged(link.recv(4096))
    link.setblocking(False)
    return link


def _check_acknowledged(answer: bytes) -> None:
    kind = struct.unpack_from("=IH", answer)[1]
    error = struct.unpack_from("=i", answer, NLMSG_HEADER)[0] if kind == NLMSG_ERROR else 0
    if error:
        raise OSError(-error, f"{os.strerror(-error)}: the kernel refused the queue")


def serve(queue: int, delay: float) -> None:
    """Hold the packets of one queue for `delay` seconds each, for ever."""
    link = open_queue(queue)
    poll = select.poll()
    poll.register(link, select.POLLIN)
    holding = Holding(delay)
    _tell_systemd("READY=1")
    log.info("queue %d: %g ms", queue, delay * 1000)
    while True:
        wait = holding.wait(time.monotonic())
        poll.poll(None if wait is None else wait * 1000)
        _receive(link, holding)
        last = holding.due(time.monotonic())
        if last is not None:
            link.send(accept_up_to(queue, last))


def _receive(link: socket.socket, holding: Holding) -> None:
    """Take what the kernel has for us, without waiting."""
    while True:
        try:
            data = link.recv(65536)
        except BlockingIOError:
            return
        now = time.monotonic()
        for number in packets(data):
            holding.add(number, now)


def _tell_systemd(state: str) -> None:
    """sd_notify(3): a datagram to the socket that the manager names."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(state.encode())


def main() -> None:
    """Read the queue number and the delay from the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m xdc_testbed.faults.queue_delay", description="delay the packets of a netfilter queue"
    )
    parser.add_argument("queue", type=int)
    parser.add_argument("milliseconds", type=float)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    serve(arguments.queue, arguments.milliseconds / 1000)


if __name__ == "__main__":
    main()
