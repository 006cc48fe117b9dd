"""Networks and instances of the kit's own cloud, made of namespaces by the role's modules; no OpenStack, no systemd.

Needs nftables, and root or leave to make a user namespace. An instance is only its namespace: what is asked of it is
said by processes in there.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from xdc_testbed import content, processes

_PRELUDE = """
import json, subprocess, sys
from pathlib import Path
import xdc_instances, xdc_security

xdc_instances.FOLDER = Path("/run/instances")
PYTHON = sys.executable
DEADLINE = 1.0  # of what the kernel does by itself; a process may have to wait for its turn longer
ports, rules = {}, []

def instance(name, address, *groups, **more):
    mac = f"fa:16:3e:00:00:{int(address.split('.')[3]):02x}"
    folder = xdc_instances.FOLDER / name
    folder.mkdir(parents=True)
    one = {"id": f"{name}-of-the-lan", "network": "lan", "mac": mac, "mtu": 1400}
    one |= {"addresses": [f"{address}/24"], "gateways": ["10.77.0.1/24"]}
    (folder / "ports.json").write_text(json.dumps([one]))
    ports[name] = {"id": one["id"], "mac_address": mac, "fixed_ips": [{"ip_address": address}]}
    ports[name] |= {"security_groups": groups, "port_security_enabled": True, "allowed_address_pairs": []} | more
    xdc_instances.connect(name)
    inside(name, SERVER)

def allow(group, direction="ingress", **more):
    unset = ("protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "remote_group_id")
    one = dict.fromkeys(unset) | {"security_group_id": group, "direction": direction, "ethertype": "IPv4"} | more
    if "port" in more:
        one |= {"protocol": "tcp", "port_range_min": more["port"], "port_range_max": more["port"]}
    rules.append(one)

def apply():
    xdc_instances.filter_ports(xdc_security.filters(list(ports.values()), rules))

def inside(name, script, *words):
    process = subprocess.Popen(
        ["ip", "netns", "exec", f"i-{name}", PYTHON, "-c", script, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    first = process.stdout.readline().strip()
    return first if process.poll() is not None or first != "ready" else process

# Answers each line with itself, at two ports.
SERVER = '''
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line)
import threading
socketserver.ThreadingTCPServer.daemon_threads = True
servers = [socketserver.ThreadingTCPServer(("", port), Echo) for port in (22, 80)]
for one in servers: threading.Thread(target=one.serve_forever).start()
print("ready", flush=True)
'''

# Says of each line that it reads whether it was answered.
CLIENT = '''
import socket, sys
address, port, source, deadline = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
def asked(connection):
    connection.sendall(b"x\\\\n")
    return "open" if connection.recv(100) else "closed"
try:
    connection = socket.create_connection((address, port), deadline, (source, 0) if source else None)
except OSError:
    print("closed", flush=True)
    sys.exit()
connection.settimeout(5 * deadline)
print("ready", flush=True)
for _ in sys.stdin:
    try:
        print(asked(connection), flush=True)
    except OSError:
        print("closed", flush=True)
'''

# One ICMP echo request.
PING = '''
import socket, struct, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
raw.settimeout(float(sys.argv[2]))
raw.connect((sys.argv[1], 0))
try:
    raw.send(struct.pack("!BBHHH", 8, 0, 0xFFFF - 0x0800 - 1 - 1, 1, 1))
    print("open" if raw.recv(100) else "closed")
except OSError:
    print("closed")
'''

def connection(name, address, port, source=""):
    return inside(name, CLIENT, address, port, source, DEADLINE)

def said(connection):
    if isinstance(connection, str):
        return connection
    connection.stdin.write("x\\n")
    connection.stdin.flush()
    return connection.stdout.readline().strip()

def tried(name, address, port, source=""):
    return said(connection(name, address, port, source))

def ping(name, address):
    return inside(name, PING, address, DEADLINE)

def answer(**facts):
    print(json.dumps(facts))
"""


def on_a_cloud(script: str) -> Any:
    """Run a script on a node of its own and return what it answers."""
    lib = content.root() / "roles" / "openstack" / "files" / "lib"
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = processes.run(
        [
            *("unshare", *as_root, "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--net"),
            *("--propagation", "private", "sh", "-c", 'mount -t tmpfs none /run && exec "$0" -c "$1"'),
            *(sys.executable, _PRELUDE + script),
        ],
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(lib), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return json.loads(done.text.splitlines()[-1])
