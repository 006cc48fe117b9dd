# Security groups and their rules, from the layout's table. Nothing is open that is not in it.

resource "openstack_networking_secgroup_v2" "this" {
  for_each             = var.groups
  name                 = each.value.name
  description          = var.owner.description
  tags                 = var.owner.tags
  delete_default_rules = true
}

resource "openstack_networking_secgroup_rule_v2" "in" {
  for_each          = var.rules
  description       = var.owner.description
  direction         = "ingress"
  ethertype         = "IPv4"
  protocol          = each.value.protocol
  port_range_min    = each.value.protocol == "icmp" ? null : each.value.first
  port_range_max    = each.value.protocol == "icmp" ? null : each.value.last
  remote_ip_prefix  = each.value.cidr
  remote_group_id   = each.value.cidr == null ? openstack_networking_secgroup_v2.this["all"].id : null
  security_group_id = openstack_networking_secgroup_v2.this[each.value.group].id
}

resource "openstack_networking_secgroup_rule_v2" "out" {
  for_each          = toset(["IPv4", "IPv6"])
  description       = var.owner.description
  direction         = "egress"
  ethertype         = each.value
  security_group_id = openstack_networking_secgroup_v2.this["all"].id
}
