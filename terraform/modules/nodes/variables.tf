variable "owner" {
  description = "Prefix of names, description, tags and metadata of everything of this testbed (from the layout)."
  type        = object({ prefix = string, description = string, tags = list(string), metadata = map(string) })
}

variable "layout" {
  description = "Nodes, ports, volumes, security groups, server groups and public nodes (from the layout)."
  type = object({
    nodes         = map(object({ full_name = string, fqdn = string, site = string, groups = list(string), networks = list(string) }))
    ports         = map(object({ name = string, node = string, network = string, address = string }))
    volumes       = map(object({ label = string, size = number }))
    groups        = map(object({ name = string, members = list(string) }))
    server_groups = map(object({ name = string, members = list(string) }))
    public        = map(string)
  })
}

variable "network_ids" {
  description = "Networks by short name."
  type        = map(string)
}

variable "subnet_ids" {
  description = "Subnets by network."
  type        = map(string)
}

variable "group_ids" {
  description = "Security groups by service."
  type        = map(string)
}

variable "way_out" {
  description = "Interfaces of the router, which floating addresses wait for."
  type        = map(string)
}

variable "image_id" {
  description = "Image that nodes boot from."
  type        = string
}

variable "flavor_ids" {
  description = "Flavor of each node."
  type        = map(string)
}

variable "external_network" {
  description = "Name of the network that floating addresses come from; null for none."
  type        = string
  default     = null
}

variable "ssh_public_key" {
  description = "Key that may log in as root; the private half never leaves the controller."
  type        = string
}

variable "host_keys_dir" {
  description = "Folder with the nodes' SSH host keys, <node> and <node>.pub, made before the nodes are."
  type        = string
}

variable "availability_zone" {
  description = "Where servers and volumes stand; null lets the cloud choose."
  type        = string
  default     = null
}

variable "volume_type" {
  description = "Type of volumes; null takes the cloud's default."
  type        = string
  default     = null
}
