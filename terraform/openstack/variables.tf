# What the layout takes is checked there; here only what it does not know.

variable "cloud" {
  description = "Entry of clouds.yaml; credentials are there and nowhere else."
  type        = string
}

variable "testbed_id" {
  description = "Exact id of the testbed."
  type        = string
}

variable "testbed_name" {
  description = "Name that people gave the testbed."
  type        = string
}

variable "testbed_origin" {
  description = "Mark of the state folder that the testbed is made from."
  type        = string
}

variable "domain" {
  description = "Domain of the nodes."
  type        = string
}

variable "expires" {
  description = "When a nightly job may sweep the testbed away, in UTC: 20261231T235959Z."
  type        = string
}

variable "networks" {
  description = "Networks to make, by short name."
  type        = map(object({ cidr = string }))
  default     = { lan = { cidr = "10.77.0.0/24" } }
}

variable "external_network" {
  description = "Name of the network that floating addresses come from; null for a testbed that nobody reaches from outside."
  type        = string
  default     = null
}

variable "external_network_id" {
  description = "Its id, which the router takes; names need not be unique."
  type        = string
  default     = null
}

variable "nodes" {
  description = "Machines to create, by short name; see modules/layout."
  type = map(object({
    index    = number
    site     = string
    groups   = list(string)
    networks = optional(list(string))
    public   = optional(bool, false)
    boot_gb  = optional(number)
    volumes  = optional(map(number), {})
  }))
}

variable "ports" {
  description = "Who may come where; see modules/layout."
  type = list(object({
    group    = string
    protocol = string
    first    = number
    last     = number
    from     = list(string)
  }))
}

variable "admin_cidrs" {
  description = "Where people come from."
  type        = list(string)
}

variable "spread" {
  description = "Whether the nodes of a site shall stand on different hosts where that is possible."
  type        = bool
  default     = true
}

variable "image_id" {
  description = "Image that nodes boot from, resolved once, so that a new image of the same name rebuilds nothing."
  type        = string
}

variable "flavor_ids" {
  description = "Flavor of each node."
  type        = map(string)
  validation {
    condition     = length(var.flavor_ids) > 0
    error_message = "No node has a flavor."
  }
}

variable "dns_servers" {
  description = "Name servers of the nodes; empty takes those of the cloud."
  type        = list(string)
  default     = []
}

variable "ssh_public_key" {
  description = "Key that may log in as root."
  type        = string
  validation {
    condition     = can(regex("^(ssh-|ecdsa-)", var.ssh_public_key))
    error_message = "Not a public SSH key: ${substr(var.ssh_public_key, 0, 20)}..."
  }
}

variable "host_keys_dir" {
  description = "Folder with the nodes' SSH host keys, <node> and <node>.pub."
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
