output "network_ids" {
  description = "Networks by short name."
  value       = { for name, network in openstack_networking_network_v2.this : name => network.id }
}

output "subnet_ids" {
  description = "Subnets by network."
  value       = { for name, subnet in openstack_networking_subnet_v2.this : name => subnet.id }
}

output "way_out" {
  description = "Interfaces of the router: floating addresses need them."
  value       = { for name, interface in openstack_networking_router_interface_v2.this : name => interface.id }
}
