output "nodes" {
  description = <<-EOT
    The nodes as the kit's drivers give them, by name. ssh_address: the floating address, else the first port's; jump: the
    node through which ssh_address is reached, null for directly. A node without a server is not among them.
  EOT
  value = { for name, server in module.nodes.servers : name => {
    resource_id = server
    site        = module.layout.nodes[name].site
    groups      = module.layout.nodes[name].groups
    fqdn        = module.layout.nodes[name].fqdn
    address     = module.layout.ports["${name}/${module.layout.nodes[name].networks[0]}"].address
    ssh_address = try(module.nodes.floating[name], module.layout.ports["${name}/${module.layout.nodes[name].networks[0]}"].address)
    jump        = contains(keys(module.layout.public), name) ? null : module.layout.jump
  } }
}
