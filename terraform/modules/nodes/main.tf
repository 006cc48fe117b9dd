# Servers with their ports, volumes and floating addresses.

resource "openstack_compute_keypair_v2" "this" {
  name       = var.owner.prefix
  public_key = var.ssh_public_key
}

resource "openstack_compute_servergroup_v2" "this" {
  for_each = var.layout.server_groups
  name     = each.value.name
  policies = ["soft-anti-affinity"]
}

resource "openstack_networking_port_v2" "this" {
  for_each           = var.layout.ports
  name               = each.value.name
  description        = var.owner.description
  tags               = var.owner.tags
  network_id         = var.network_ids[each.value.network]
  security_group_ids = [for group, members in { for g, group in var.layout.groups : g => group.members } : var.group_ids[group] if contains(members, each.value.node)]
  fixed_ip {
    subnet_id  = var.subnet_ids[each.value.network]
    ip_address = each.value.address
  }
  lifecycle {
    # Nova writes these when it binds the port.
    ignore_changes = [binding, extra_dhcp_option]
  }
}

resource "openstack_blockstorage_volume_v3" "this" {
  for_each          = var.layout.volumes
  name              = "${var.owner.prefix}-${replace(each.key, "/", "-")}"
  description       = var.owner.description
  metadata          = var.owner.metadata
  size              = each.value.size
  image_id          = each.value.label == "boot" ? var.image_id : null
  volume_type       = var.volume_type
  availability_zone = var.availability_zone
  lifecycle {
    ignore_changes = [image_id]
  }
}

locals {
  labels = { for name, node in var.layout.nodes : name => sort([for key, volume in var.layout.volumes : volume.label if startswith(key, "${name}/") && volume.label != "boot"]) }
  boots  = { for name, node in var.layout.nodes : name => contains(keys(var.layout.volumes), "${name}/boot") }
}

resource "openstack_compute_instance_v2" "this" {
  for_each          = var.layout.nodes
  name              = each.value.full_name
  flavor_id         = var.flavor_ids[each.key]
  image_id          = local.boots[each.key] ? null : var.image_id
  key_pair          = openstack_compute_keypair_v2.this.name
  availability_zone = var.availability_zone
  config_drive      = true
  tags              = var.owner.tags
  metadata = merge(var.owner.metadata, {
    xdc_node   = each.key
    xdc_site   = each.value.site
    xdc_groups = join(",", each.value.groups)
  })

  # The private host key is read from the state folder and goes to the cloud only; Terraform keeps a hash of it.
  user_data = templatefile("${path.module}/cloud-init.yaml.tftpl", {
    fqdn           = each.value.fqdn
    hostname       = each.key
    ssh_public_key = var.ssh_public_key
    host_key       = file("${var.host_keys_dir}/${each.key}")
    host_key_pub   = file("${var.host_keys_dir}/${each.key}.pub")
    volumes        = { for label in local.labels[each.key] : label => substr(openstack_blockstorage_volume_v3.this["${each.key}/${label}"].id, 0, 20) }
  })

  dynamic "block_device" {
    for_each = local.boots[each.key] ? [openstack_blockstorage_volume_v3.this["${each.key}/boot"].id] : []
    content {
      uuid             = block_device.value
      source_type      = "volume"
      destination_type = "volume"
      boot_index       = 0
    }
  }
  dynamic "block_device" {
    for_each = !local.boots[each.key] && length(local.labels[each.key]) > 0 ? [var.image_id] : []
    content {
      uuid                  = block_device.value
      source_type           = "image"
      destination_type      = "local"
      boot_index            = 0
      delete_on_termination = true
    }
  }
  # Volumes are there when the node boots, so that it can mount them before any service starts.
  dynamic "block_device" {
    for_each = local.labels[each.key]
    content {
      uuid             = openstack_blockstorage_volume_v3.this["${each.key}/${block_device.value}"].id
      source_type      = "volume"
      destination_type = "volume"
      boot_index       = -1
    }
  }
  dynamic "network" {
    for_each = each.value.networks
    content {
      port = openstack_networking_port_v2.this["${each.key}/${network.value}"].id
    }
  }
  dynamic "scheduler_hints" {
    for_each = [for site, group in var.layout.server_groups : site if contains(group.members, each.key)]
    content {
      group = openstack_compute_servergroup_v2.this[scheduler_hints.value].id
    }
  }
  vendor_options {
    # Nova deletes ports asynchronously; without this a recreated server meets "Port is still in use".
    detach_ports_before_destroy = true
  }
  timeouts {
    create = "15m"
    delete = "5m"
  }
  lifecycle {
    # A renamed image, or a new network that a node gets, must not rebuild the nodes that are there.
    ignore_changes = [image_id, scheduler_hints]
  }
}

resource "openstack_networking_floatingip_v2" "this" {
  for_each    = var.layout.public
  pool        = var.external_network
  description = var.owner.description
  tags        = var.owner.tags
}

resource "openstack_networking_floatingip_associate_v2" "this" {
  for_each    = var.layout.public
  floating_ip = openstack_networking_floatingip_v2.this[each.key].address
  port_id     = openstack_networking_port_v2.this[each.value].id

  # Neutron refuses an address of a subnet that no router leads out of; afterwards the router cannot go before it.
  depends_on = [var.way_out]
}
