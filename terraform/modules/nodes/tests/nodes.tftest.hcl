# Servers against a provider that makes nothing.

mock_provider "openstack" {
  mock_resource "openstack_blockstorage_volume_v3" {
    defaults = { id = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9" }
  }
}

variables {
  owner          = { prefix = "xdc-ab12", description = "xdc-testbed=ab12", tags = ["xdc-testbed=ab12"], metadata = { xdc_testbed = "ab12" } }
  network_ids    = { lan = "n1" }
  subnet_ids     = { lan = "s1" }
  group_ids      = { all = "g1", xrootd = "g2" }
  way_out        = {}
  image_id       = "i1"
  flavor_ids     = { plain = "1", disk = "1", boot = "1" }
  ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDYB test"
  host_keys_dir  = "tests/keys"
  layout = {
    nodes = {
      plain = { full_name = "xdc-ab12-plain", fqdn = "plain.xdc.test", site = "desy", groups = ["client"], networks = ["lan"] }
      disk  = { full_name = "xdc-ab12-disk", fqdn = "disk.xdc.test", site = "desy", groups = ["xrootd"], networks = ["lan"] }
      boot  = { full_name = "xdc-ab12-boot", fqdn = "boot.xdc.test", site = "remote", groups = [], networks = ["lan"] }
    }
    ports = {
      "plain/lan" = { name = "xdc-ab12-plain-lan", node = "plain", network = "lan", address = "10.77.0.10" }
      "disk/lan"  = { name = "xdc-ab12-disk-lan", node = "disk", network = "lan", address = "10.77.0.11" }
      "boot/lan"  = { name = "xdc-ab12-boot-lan", node = "boot", network = "lan", address = "10.77.0.12" }
    }
    volumes       = { "disk/data" = { label = "data", size = 10 }, "boot/boot" = { label = "boot", size = 20 }, "boot/tape" = { label = "tape", size = 5 } }
    groups        = { all = { name = "xdc-ab12-all", members = ["boot", "disk", "plain"] }, xrootd = { name = "xdc-ab12-xrootd", members = ["disk"] } }
    server_groups = { desy = { name = "xdc-ab12-desy", members = ["disk", "plain"] } }
    public        = {}
  }
}

run "a_node_boots_from_the_image_or_from_its_own_volume" {
  command = apply
  assert {
    condition     = { for name, server in openstack_compute_instance_v2.this : name => [for device in server.block_device : "${device.source_type}:${device.boot_index}"] } == { plain = [], disk = ["image:0", "volume:-1"], boot = ["volume:0", "volume:-1"] }
    error_message = jsonencode({ for name, server in openstack_compute_instance_v2.this : name => server.block_device })
  }
  assert {
    condition     = openstack_blockstorage_volume_v3.this["boot/boot"].image_id == "i1" && openstack_blockstorage_volume_v3.this["disk/data"].image_id != "i1"
    error_message = "Only boot volumes are made of the image."
  }
}

run "a_node_is_in_the_security_groups_of_its_services_and_the_server_group_of_its_site" {
  command = apply
  assert {
    condition     = jsonencode({ for key, port in openstack_networking_port_v2.this : key => sort(port.security_group_ids) }) == jsonencode({ "plain/lan" = ["g1"], "disk/lan" = ["g1", "g2"], "boot/lan" = ["g1"] })
    error_message = jsonencode({ for key, port in openstack_networking_port_v2.this : key => port.security_group_ids })
  }
  assert {
    condition     = { for name, server in openstack_compute_instance_v2.this : name => length(server.scheduler_hints) } == { plain = 1, disk = 1, boot = 0 }
    error_message = "Server groups are wrong."
  }
}

run "user_data_is_cloud_config_with_our_host_key_and_mounts_by_label" {
  command = apply
  assert {
    condition     = yamldecode(openstack_compute_instance_v2.this["boot"].user_data).ssh_keys.ed25519_private == file("tests/keys/boot")
    error_message = openstack_compute_instance_v2.this["boot"].user_data
  }
  assert {
    condition     = strcontains(openstack_compute_instance_v2.this["boot"].user_data, "mount_volume tape 0a1b2c3d-4e5f-6071-8") && !strcontains(openstack_compute_instance_v2.this["boot"].user_data, "mount_volume boot")
    error_message = openstack_compute_instance_v2.this["boot"].user_data
  }
  assert {
    condition     = yamldecode(openstack_compute_instance_v2.this["plain"].user_data).fqdn == "plain.xdc.test" && !can(yamldecode(openstack_compute_instance_v2.this["plain"].user_data).runcmd)
    error_message = openstack_compute_instance_v2.this["plain"].user_data
  }
}
