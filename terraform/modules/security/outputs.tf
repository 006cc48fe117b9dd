output "group_ids" {
  description = "Security groups by service."
  value       = { for name, group in openstack_networking_secgroup_v2.this : name => group.id }
}
