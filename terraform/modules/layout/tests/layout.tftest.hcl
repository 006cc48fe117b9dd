variables {
  testbed_id       = "ab12cd34ef"
  testbed_name     = "demo"
  testbed_origin   = "0f"
  domain           = "xdc.test"
  expires          = "20261231T235959Z"
  external_network = "public"
  admin_cidrs      = ["192.0.2.0/28", "198.51.100.7/32"]
  networks         = { lan = { cidr = "10.77.0.0/24" }, data = { cidr = "10.78.0.0/24" } }
  ports = [
    { group = "all", protocol = "tcp", first = 22, last = 22, from = ["testbed", "admin"] },
    { group = "xrootd", protocol = "tcp", first = 1094, last = 1094, from = ["testbed"] },
    { group = "kafka", protocol = "tcp", first = 9093, last = 9094, from = ["testbed"] },
    { group = "nobody", protocol = "tcp", first = 1, last = 1, from = ["testbed"] },
  ]
  nodes = {
    stream  = { index = 0, site = "desy", groups = ["kafka"] }
    storage = { index = 2, site = "desy", groups = ["xrootd"], boot_gb = 20, volumes = { data = 100 } }
    client  = { index = 1, site = "remote", groups = ["client"], public = true, networks = ["lan"] }
    door    = { index = 3, site = "remote", groups = ["xrootd"], public = true, networks = ["lan"] }
  }
}

run "each_node_gets_one_port_per_network_with_an_address_by_its_number" {
  command = plan
  assert {
    condition = { for key, port in output.ports : key => port.address } == {
      "stream/lan"  = "10.77.0.10", "stream/data" = "10.78.0.10"
      "storage/lan" = "10.77.0.12", "storage/data" = "10.78.0.12"
      "client/lan"  = "10.77.0.11"
      "door/lan"    = "10.77.0.13"
    }
    error_message = "Ports: ${jsonencode(output.ports)}"
  }
  assert {
    condition     = output.ports["storage/data"].name == "xdc-ab12cd34ef-storage-data"
    error_message = "Name: ${output.ports["storage/data"].name}"
  }
}

run "a_node_that_is_removed_moves_no_other" {
  command = plan
  variables {
    nodes = {
      storage = { index = 2, site = "desy", groups = ["xrootd"] }
    }
  }
  assert {
    condition     = output.ports["storage/lan"].address == "10.77.0.12"
    error_message = "Moved to ${output.ports["storage/lan"].address}"
  }
}

run "boot_volume_and_labelled_volumes_are_separate_things_of_their_own" {
  command = plan
  assert {
    condition     = output.volumes == { "storage/boot" = { label = "boot", size = 20 }, "storage/data" = { label = "data", size = 100 } }
    error_message = "Volumes: ${jsonencode(output.volumes)}"
  }
}

run "rules_follow_the_table_for_services_that_are_there" {
  command = plan
  assert {
    condition = keys(output.rules) == [
      "all/tcp/22-22/192.0.2.0/28", "all/tcp/22-22/198.51.100.7/32", "all/tcp/22-22/testbed",
      "kafka/tcp/9093-9094/testbed", "xrootd/tcp/1094-1094/testbed",
    ]
    error_message = "Rules: ${jsonencode(keys(output.rules))}"
  }
  assert {
    condition     = { for name, group in output.groups : name => group.members } == { all = ["client", "door", "storage", "stream"], kafka = ["stream"], xrootd = ["door", "storage"] }
    error_message = "Groups: ${jsonencode(output.groups)}"
  }
}

run "only_public_nodes_get_a_floating_address_and_the_first_is_the_way_in" {
  command = plan
  assert {
    condition     = output.public == { client = "client/lan", door = "door/lan" } && output.jump == "client"
    error_message = "Public: ${jsonencode(output.public)}, jump ${output.jump}"
  }
}

run "without_an_external_network_nobody_is_public" {
  command = plan
  variables {
    external_network = null
  }
  assert {
    condition     = length(output.public) == 0 && output.jump == null && output.need.routers == 0
    error_message = "Public: ${jsonencode(output.public)}"
  }
}

run "a_site_with_several_nodes_has_a_server_group" {
  command = plan
  assert {
    condition     = { for site, group in output.server_groups : site => group.members } == { desy = ["storage", "stream"], remote = ["client", "door"] }
    error_message = "Server groups: ${jsonencode(output.server_groups)}"
  }
}

run "the_need_is_the_sum_of_all_that_is_made" {
  command = plan
  assert {
    condition = output.need == {
      instances            = 4, networks = 2, subnets = 2, routers = 1, ports = 10, floating_ips = 2, security_groups = 3
      security_group_rules = 7, volumes = 2, gigabytes = 120, server_groups = 2, server_group_members = 2, key_pairs = 1
    }
    error_message = "Need: ${jsonencode(output.need)}"
  }
}

run "ownership_is_in_description_tags_and_names" {
  command = plan
  assert {
    condition     = output.description == "xdc-testbed=ab12cd34ef expires=20261231T235959Z"
    error_message = output.description
  }
  assert {
    condition     = output.tags == ["xdc-testbed=ab12cd34ef", "xdc-name=demo", "xdc-origin=0f", "xdc-expires=20261231T235959Z"]
    error_message = join(" ", output.tags)
  }
}

run "an_id_with_a_hyphen_is_refused_since_names_would_not_be_exact" {
  command = plan
  variables {
    testbed_id = "ab12-cd34"
  }
  expect_failures = [var.testbed_id]
}

run "two_nodes_with_one_number_are_refused" {
  command = plan
  variables {
    nodes = {
      a = { index = 1, site = "desy", groups = [] }
      b = { index = 1, site = "desy", groups = [] }
    }
  }
  expect_failures = [var.nodes]
}

run "a_volume_called_boot_is_refused" {
  command = plan
  variables {
    nodes = {
      a = { index = 1, site = "desy", groups = [], volumes = { boot = 5 } }
    }
  }
  expect_failures = [var.nodes]
}

run "an_origin_that_does_not_exist_is_refused" {
  command = plan
  variables {
    ports = [{ group = "all", protocol = "tcp", first = 22, last = 22, from = ["everybody"] }]
  }
  expect_failures = [var.ports]
}
