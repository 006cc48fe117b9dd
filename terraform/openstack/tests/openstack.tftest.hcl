# The whole configuration against a provider that makes nothing (mocks: Terraform 1.7, OpenTofu 1.8).

mock_provider "openstack" {
  mock_resource "openstack_networking_floatingip_v2" {
    defaults = { address = "203.0.113.9" }
  }
  mock_resource "openstack_blockstorage_volume_v3" {
    defaults = { id = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9" }
  }
}

variables {
  cloud               = "mocked"
  testbed_id          = "ab12cd34ef"
  testbed_name        = "demo"
  testbed_origin      = "0f"
  domain              = "xdc.test"
  expires             = "20261231T235959Z"
  external_network    = "public"
  external_network_id = "5581c69e-5c61-4343-bda1-051a70316cfc"
  image_id            = "4485a054-a5b8-406d-823d-df21e7ae52fc"
  ssh_public_key      = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDYB test"
  host_keys_dir       = "tests/keys"
  admin_cidrs         = ["192.0.2.0/28"]
  flavor_ids          = { stream = "1", storage = "2" }
  ports = [
    { group = "all", protocol = "icmp", first = 0, last = 0, from = ["testbed"] },
    { group = "all", protocol = "tcp", first = 22, last = 22, from = ["testbed", "admin"] },
    { group = "xrootd", protocol = "tcp", first = 1094, last = 1094, from = ["testbed"] },
  ]
  nodes = {
    stream  = { index = 0, site = "desy", groups = ["kafka"], public = true }
    storage = { index = 1, site = "desy", groups = ["xrootd"], boot_gb = 20, volumes = { data = 100 } }
  }
}

run "the_output_is_the_contract_with_the_drivers" {
  command = apply
  assert {
    condition = jsonencode({ for name, node in output.nodes : name => [node.address, node.ssh_address, node.jump, node.fqdn] }) == jsonencode({
      stream  = ["10.77.0.10", "203.0.113.9", null, "stream.xdc.test"]
      storage = ["10.77.0.11", "10.77.0.11", "stream", "storage.xdc.test"]
    })
    error_message = "Nodes: ${jsonencode(output.nodes)}"
  }
}

run "a_second_plan_knows_the_same_addresses" {
  command = plan
  assert {
    # Written out: a condition cannot look at an earlier run with OpenTofu.
    condition     = jsonencode({ for name, node in output.nodes : name => node.ssh_address }) == jsonencode({ stream = "203.0.113.9", storage = "10.77.0.11" })
    error_message = "Nodes: ${jsonencode(output.nodes)}"
  }
}

run "without_an_external_network_nodes_are_reached_by_their_own_address" {
  command = plan
  variables {
    external_network    = null
    external_network_id = null
  }
  assert {
    condition     = jsonencode({ for name, node in output.nodes : name => [node.ssh_address, node.jump] }) == jsonencode({ stream = ["10.77.0.10", null], storage = ["10.77.0.11", null] })
    error_message = "Nodes: ${jsonencode(output.nodes)}"
  }
}

run "a_private_key_in_place_of_the_public_one_is_refused" {
  command = plan
  variables {
    ssh_public_key = "-----BEGIN OPENSSH PRIVATE KEY-----"
  }
  expect_failures = [var.ssh_public_key]
}
