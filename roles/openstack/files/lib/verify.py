"""Use the cloud as a user does: image, network with a security group, port, volume, server, floating address.

All is taken away again. verify.py CLOUD: read {name, image, flavor, login, volume} as JSON. login: whether instances
can be logged in to, which is done then, by the floating address. volume: `none` - it is made and deleted, `kept` - and
attached, `seen` - and found in the instance. What an earlier, killed run left under the same name goes first. Ends with
1 and one line when something is not as it should be.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

_DEADLINE = 600.0  # an emulated machine on a busy node boots in minutes


def main():
    """Make, look, remove."""
    wanted = json.load(sys.stdin)
    cloud = openstack.connect(cloud=sys.argv[1])
    try:
        remove(cloud, wanted["name"])
        try:
            use(cloud, **wanted)
        finally:
            remove(cloud, wanted["name"])
    except (SDKException, ClientException) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def use(cloud, *, name, image, flavor, login, volume):
    """A server with a floating address and a volume."""
    with tempfile.TemporaryDirectory(prefix="xdc-verify-") as folder:
        key = Path(folder, "key")
        words = ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(words, check=True, timeout=60)
        public_key = key.with_suffix(".pub").read_text().strip()
        address, disk = serve(cloud, name, image, flavor, public_key, attach=volume != "none")
        if login:
            done = f"test -e {disk} && cat /etc/xdc-verify" if volume == "seen" else "cat /etc/xdc-verify"
            what = f"a login at {address} finds what the user data says{', and the volume' if volume == 'seen' else ''}"
            wait(what, lambda: _says(address, key, done) == name)


def serve(cloud, name, image, flavor, public_key, *, attach):
    """Make it all. Returns the floating address, and where an instance with a kernel finds the volume."""
    network = cloud.network.create_network(name=name)
    subnet = cloud.network.create_subnet(network_id=network.id, name=name, ip_version=4, cidr="192.0.2.0/24")
    external = cloud.network.find_network("external", ignore_missing=False)
    router = cloud.network.create_router(name=name, external_gateway_info={"network_id": external.id})
    cloud.network.add_interface_to_router(router, subnet_id=subnet.id)
    group = cloud.network.create_security_group(name=name)
    cloud.network.create_security_group_rule(
        security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=22, port_range_max=22
    )
    port = cloud.network.create_port(network_id=network.id, name=name, security_group_ids=[group.id])
    volume = cloud.block_storage.create_volume(name=name, size=1)
    server = cloud.compute.create_server(
        name=name,
        image_id=cloud.image.find_image(image, ignore_missing=False).id,
        flavor_id=cloud.compute.find_flavor(flavor, ignore_missing=False).id,
        networks=[{"port": port.id}],
        key_name=cloud.compute.create_keypair(name=name, public_key=public_key).name,
        user_data=base64.b64encode(_USER_DATA.format(name=name).encode()).decode(),
    )
    wait("the server is active", lambda: _active(cloud.compute.get(f"/servers/{server.id}").json()["server"]))
    wait("the volume is there", lambda: _available(cloud.block_storage.get_volume(volume.id)))
    if attach:
        cloud.compute.create_volume_attachment(server, volume_id=volume.id)
        wait("the volume is attached", lambda: cloud.block_storage.get_volume(volume.id).status == "in-use")
    floating = cloud.network.create_ip(floating_network_id=external.id, port_id=port.id, description=name)
    addresses = [entry["addr"] for entry in cloud.compute.get_server(server.id).addresses[name]]
    if port.fixed_ips[0]["ip_address"] not in addresses:
        sys.exit(f"the server has the addresses {addresses}, not that of its port")
    if floating.port_id != port.id:
        sys.exit("the floating address is not that of the port")
    return floating.floating_ip_address, f"/dev/disk/by-id/virtio-{volume.id[:20]}"


_USER_DATA = """#cloud-config
write_files:
- path: /etc/xdc-verify
  content: {name}
"""


def _says(address, key, script):
    """What the image's own user, who gets in by the key pair, is answered; None before all is as it should be."""
    words = [
        "/usr/bin/ssh",
        "-F",
        "none",
        "-i",
        str(key),
        "-o",
        f"UserKnownHostsFile={key}.hosts",
        "-o",
        "LogLevel=ERROR",
    ]
    words += ["-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
    try:
        done = subprocess.run(
            [*words, f"debian@{address}", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except subprocess.TimeoutExpired:  # it still boots
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _active(server):
    if server["status"] == "ERROR":  # asked for plainly: Debian's SDK has no word for the fault
        sys.exit(f"the server ended in ERROR: {server.get('fault', {}).get('message', 'no reason given')}")
    return server["status"] == "ACTIVE"


def _available(volume):
    if volume.status == "error":
        sys.exit("the volume ended in error: see the journal of cinder-scheduler and cinder-volume")
    return volume.status == "available"


def remove(cloud, name):
    """Everything of this name, in the order in which it hangs together."""
    network, compute, volumes = cloud.network, cloud.compute, cloud.block_storage
    for floating in network.ips(description=name):
        network.delete_ip(floating)
    for server in compute.servers(name=f"^{name}$"):
        compute.delete_server(server)
    wait("the server is gone", lambda: not list(compute.servers(name=f"^{name}$")))
    compute.delete_keypair(name, ignore_missing=True)
    for volume in volumes.volumes(name=name):
        wait("the volume is free", lambda one=volume: volumes.get_volume(one.id).status in ("available", "error"))
        volumes.delete_volume(volume)
    for router in network.routers(name=name):
        for port in network.ports(device_id=router.id, device_owner="network:router_interface"):
            network.remove_interface_from_router(router, port_id=port.id)
        network.delete_router(router)
    for one in network.networks(name=name):
        for port in network.ports(network_id=one.id):
            network.delete_port(port)
        network.delete_network(one)
    for group in network.security_groups(name=name):
        network.delete_security_group(group)
    wait("the volume is gone", lambda: not list(volumes.volumes(name=name)))


def wait(what, condition):
    """Wait for something that can be observed."""
    until = time.monotonic() + _DEADLINE
    while not condition():
        if time.monotonic() > until:
            sys.exit(f"not within {_DEADLINE:.0f} s: {what}")
        time.sleep(0.3)


if __name__ == "__main__":
    os.environ.setdefault("OS_CLIENT_CONFIG_FILE", "/etc/openstack/clouds.yaml")
    main()
