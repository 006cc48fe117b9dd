output "servers" {
  description = "Server ids by node."
  value       = { for name, server in openstack_compute_instance_v2.this : name => server.id }
}

output "floating" {
  description = "Floating addresses by public node, once they lead to it."
  value       = { for name, link in openstack_networking_floatingip_associate_v2.this : name => link.floating_ip }
}
