variable "testbed_id" {
  description = "Exact id of the testbed. It is part of every name and tag; removal matches it exactly, never as a prefix, so it has no hyphen."
  type        = string
  validation {
    condition     = can(regex("^[0-9a-z]{4,20}$", var.testbed_id))
    error_message = "Not a testbed id (4 to 20 small letters and digits): ${var.testbed_id}."
  }
}

variable "testbed_name" {
  description = "Name that people gave the testbed; a tag, so that `down` finds the id by name and origin when the state is lost."
  type        = string
}

variable "testbed_origin" {
  description = "Mark of the state folder that the testbed is made from; a tag, since others may give the same name."
  type        = string
}

variable "domain" {
  description = "Domain of the nodes: a node is <name>.<domain>."
  type        = string
}

variable "expires" {
  description = "When a nightly job may sweep the testbed away, in UTC: 20261231T235959Z."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{8}T[0-9]{6}Z$", var.expires))
    error_message = "Not a time such as 20261231T235959Z: ${var.expires}."
  }
}

variable "networks" {
  description = "Networks to make, by short name. Hosts are numbered from 10 on; what is below is for the router and DHCP."
  type        = map(object({ cidr = string }))
  default     = { lan = { cidr = "10.77.0.0/24" } }
  validation {
    condition     = alltrue([for n in var.networks : can(cidrhost(n.cidr, 10))])
    error_message = "Not a network with room for ten hosts: ${join(", ", [for k, n in var.networks : "${k} = ${n.cidr}" if !can(cidrhost(n.cidr, 10))])}."
  }
}

variable "external_network" {
  description = "Network that floating addresses come from and that the router leads to; null for a testbed that nobody reaches from outside."
  type        = string
  default     = null
}

variable "nodes" {
  description = <<-EOT
    Machines to create, by short name.
    index: the node's number, which decides its addresses; two nodes never share one.
    groups: services that it gets, which decide who may come to it. networks: those it has a port in; null for all.
    public: whether it gets a floating address. boot_gb: boots from a volume of this size instead of the image's copy.
    volumes: further volumes by label, in GB; each is mounted below /srv by its label.
  EOT
  type = map(object({
    index    = number
    site     = string
    groups   = list(string)
    networks = optional(list(string))
    public   = optional(bool, false)
    boot_gb  = optional(number)
    volumes  = optional(map(number), {})
  }))
  validation {
    condition     = alltrue([for name in keys(var.nodes) : can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", name))])
    error_message = "Not DNS labels: ${join(", ", [for name in keys(var.nodes) : name if !can(regex("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", name))])}."
  }
  validation {
    condition     = length(distinct([for n in var.nodes : n.index])) == length(var.nodes)
    error_message = "Nodes share a number: ${join(", ", [for k, n in var.nodes : "${k} = ${n.index}"])}."
  }
  validation {
    condition     = alltrue([for n in var.nodes : alltrue([for label, size in n.volumes : can(regex("^[a-z][a-z0-9]{0,11}$", label)) && label != "boot" && size > 0])])
    error_message = "Not labels of volumes (12 small letters and digits, not 'boot', more than 0 GB): ${join(", ", flatten([for k, n in var.nodes : [for label, size in n.volumes : "${k}/${label}" if !can(regex("^[a-z][a-z0-9]{0,11}$", label)) || label == "boot" || size <= 0]]))}."
  }
}

variable "ports" {
  description = <<-EOT
    Who may come where: the kit's port table (inventory/group_vars/all/ports.yml), with numbers.
    group: a service, or `all` for every node. from: `testbed` for its nodes, `admin` for admin_cidrs.
  EOT
  type = list(object({
    group    = string
    protocol = string
    first    = number
    last     = number
    from     = list(string)
  }))
  validation {
    condition     = alltrue([for row in var.ports : length(setsubtract(row.from, ["testbed", "admin"])) == 0])
    error_message = "Not an origin: ${join(", ", flatten([for row in var.ports : setsubtract(row.from, ["testbed", "admin"])]))}."
  }
}

variable "admin_cidrs" {
  description = "Where people come from: by SSH, and to the services that the port table opens to them. Nobody else gets in."
  type        = list(string)
  validation {
    condition     = alltrue([for cidr in var.admin_cidrs : can(cidrhost(cidr, 0))])
    error_message = "Not networks: ${join(", ", [for cidr in var.admin_cidrs : cidr if !can(cidrhost(cidr, 0))])}."
  }
}

variable "spread" {
  description = "Whether the nodes of a site shall stand on different hosts where that is possible (soft anti-affinity)."
  type        = bool
  default     = true
}
