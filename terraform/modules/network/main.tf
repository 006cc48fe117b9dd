# Networks of one testbed and the router that leads out of them.

resource "openstack_networking_network_v2" "this" {
  for_each    = var.networks
  name        = "${var.owner.prefix}-${each.key}"
  description = var.owner.description
  tags        = var.owner.tags
  timeouts {
    delete = "2m"
  }
}

resource "openstack_networking_subnet_v2" "this" {
  for_each        = var.networks
  name            = "${var.owner.prefix}-${each.key}"
  description     = var.owner.description
  tags            = var.owner.tags
  network_id      = openstack_networking_network_v2.this[each.key].id
  cidr            = each.value.cidr
  ip_version      = 4
  dns_nameservers = var.dns_servers
  # Something that Terraform does not know of may be in the subnet; it would try for ten minutes.
  timeouts {
    delete = "2m"
  }
}

resource "openstack_networking_router_v2" "this" {
  for_each            = toset(var.external_network_id == null ? [] : ["out"])
  name                = "${var.owner.prefix}-out"
  description         = var.owner.description
  tags                = var.owner.tags
  external_network_id = var.external_network_id
}

resource "openstack_networking_router_interface_v2" "this" {
  for_each  = var.external_network_id == null ? {} : var.networks
  router_id = openstack_networking_router_v2.this["out"].id
  subnet_id = openstack_networking_subnet_v2.this[each.key].id
}
