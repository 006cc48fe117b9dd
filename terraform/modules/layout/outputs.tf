output "prefix" {
  description = "Every name is this, or begins with this and a hyphen."
  value       = local.prefix
}

output "tags" {
  description = "Tags of everything that can have tags."
  value       = local.tags
}

output "description" {
  description = "Description of everything that can have one."
  value       = local.description
}

output "metadata" {
  description = "Metadata of servers and volumes."
  value       = local.metadata
}

output "nodes" {
  description = "Nodes with full name, domain name and networks."
  value       = local.nodes
}

output "ports" {
  description = "One port per node and network, by node/network."
  value       = local.ports
}

output "volumes" {
  description = "Volumes by node/label."
  value       = local.volumes
}

output "groups" {
  description = "Security groups by service: name and member nodes."
  value       = local.groups
}

output "rules" {
  description = "Rules of the security groups; cidr null means: from the nodes of this testbed."
  value       = local.rules
}

output "public" {
  description = "Nodes with a floating address, and the port that it leads to."
  value       = local.public
}

output "jump" {
  description = "Public node through which the others are reached; null when none is public."
  value       = local.jump
}

output "server_groups" {
  description = "Server groups by site: name and member nodes."
  value       = local.server_groups
}

output "need" {
  description = "What this takes of the project's quota; cores and memory follow from the flavors and are not known here."
  value = {
    instances            = length(local.nodes)
    networks             = length(var.networks)
    subnets              = length(var.networks)
    routers              = var.external_network == null ? 0 : 1
    ports                = length(local.ports) + length(var.networks) * (var.external_network == null ? 1 : 2) # DHCP and the router have a port in each network
    floating_ips         = length(local.public)
    security_groups      = length(local.groups)
    security_group_rules = length(local.rules) + 2 # egress
    volumes              = length(local.volumes)
    gigabytes            = sum(concat([0], [for v in local.volumes : v.size]))
    server_groups        = length(local.server_groups)
    server_group_members = max(concat([0], [for g in local.server_groups : length(g.members)])...)
    key_pairs            = 1
  }
}
