# What a testbed needs of a cloud, computed: no provider, no resource, so that `terraform test` runs anywhere.

terraform {
  required_version = ">= 1.6"
}

locals {
  prefix = "xdc-${var.testbed_id}"

  # Ownership. The description is set in the call that creates a thing, tags in a second one: a thing that was created
  # in between has only the description, so both carry the id.
  tag         = "xdc-testbed=${var.testbed_id}"
  tags        = [local.tag, "xdc-name=${var.testbed_name}", "xdc-origin=${var.testbed_origin}", "xdc-expires=${var.expires}"]
  description = "${local.tag} expires=${var.expires}"
  metadata    = { xdc_testbed = var.testbed_id, xdc_name = var.testbed_name, xdc_origin = var.testbed_origin, xdc_expires = var.expires }

  nodes = { for name, node in var.nodes : name => merge(node, {
    full_name = "${local.prefix}-${name}"
    fqdn      = "${name}.${var.domain}"
    networks  = node.networks == null ? keys(var.networks) : node.networks
    in_groups = distinct(concat(["all"], node.groups))
  }) }

  # One port per node and network, with an address that depends on the node's own number only: adding or removing a
  # node moves nobody else.
  ports = merge([for name, node in local.nodes : { for network in node.networks : "${name}/${network}" => {
    name    = "${node.full_name}-${network}"
    node    = name
    network = network
    address = cidrhost(var.networks[network].cidr, 10 + node.index)
  } }]...)

  volumes = merge([for name, node in local.nodes : merge(
    node.boot_gb == null ? {} : { "${name}/boot" = { label = "boot", size = node.boot_gb } },
    { for label, size in node.volumes : "${name}/${label}" => { label = label, size = size } }
  )]...)

  # Security groups: `all` for every node, and one for each service that somebody may come to.
  open_groups = toset([for row in var.ports : row.group])
  members     = { for group in local.open_groups : group => [for name, node in local.nodes : name if contains(node.in_groups, group)] }
  groups      = { for group, members in local.members : group => { name = "${local.prefix}-${group}", members = members } if length(members) > 0 }

  # One rule per row and origin. The key is what the rule says, so that a row that moves in the table changes nothing.
  rules = merge([for row in var.ports : merge(
    contains(row.from, "testbed") ? { "${row.group}/${row.protocol}/${row.first}-${row.last}/testbed" = merge(row, { cidr = null }) } : {},
    contains(row.from, "admin") ? { for cidr in var.admin_cidrs : "${row.group}/${row.protocol}/${row.first}-${row.last}/${cidr}" => merge(row, { cidr = cidr }) } : {},
  ) if contains(keys(local.groups), row.group)]...)

  # Floating addresses for public nodes only; the others are reached through the public node with the lowest number.
  public   = { for name, node in local.nodes : name => "${name}/${node.networks[0]}" if node.public && var.external_network != null }
  by_index = { for name in keys(local.public) : format("%04d", local.nodes[name].index) => name }
  jump     = length(local.public) == 0 ? null : local.by_index[sort(keys(local.by_index))[0]]

  # One server group per site with more than one node, so that a site's nodes stand on different hosts.
  sites         = { for name, node in local.nodes : node.site => name... }
  server_groups = var.spread ? { for site, names in local.sites : site => { name = "${local.prefix}-${site}", members = names } if length(names) > 1 } : {}
}
