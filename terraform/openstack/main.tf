# The whole testbed on one OpenStack: the layout says what, the modules make it.

provider "openstack" {
  cloud = var.cloud
}

module "layout" {
  source           = "../modules/layout"
  testbed_id       = var.testbed_id
  testbed_name     = var.testbed_name
  testbed_origin   = var.testbed_origin
  domain           = var.domain
  expires          = var.expires
  networks         = var.networks
  external_network = var.external_network
  nodes            = var.nodes
  ports            = var.ports
  admin_cidrs      = var.admin_cidrs
  spread           = var.spread
}

locals {
  owner = {
    prefix      = module.layout.prefix
    description = module.layout.description
    tags        = module.layout.tags
    metadata    = module.layout.metadata
  }
}

module "network" {
  source              = "../modules/network"
  owner               = local.owner
  networks            = var.networks
  external_network_id = var.external_network_id
  dns_servers         = var.dns_servers
}

module "security" {
  source = "../modules/security"
  owner  = local.owner
  groups = module.layout.groups
  rules  = module.layout.rules
}

module "nodes" {
  source            = "../modules/nodes"
  owner             = local.owner
  layout            = module.layout
  network_ids       = module.network.network_ids
  subnet_ids        = module.network.subnet_ids
  group_ids         = module.security.group_ids
  way_out           = module.network.way_out
  image_id          = var.image_id
  flavor_ids        = var.flavor_ids
  external_network  = var.external_network
  ssh_public_key    = var.ssh_public_key
  host_keys_dir     = var.host_keys_dir
  availability_zone = var.availability_zone
  volume_type       = var.volume_type
}
