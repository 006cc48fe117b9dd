variable "owner" {
  description = "Prefix of names, description and tags of everything of this testbed (from the layout)."
  type        = object({ prefix = string, description = string, tags = list(string) })
}

variable "networks" {
  description = "Networks to make, by short name."
  type        = map(object({ cidr = string }))
}

variable "external_network_id" {
  description = "Network that the router leads to; null for no router."
  type        = string
  default     = null
}

variable "dns_servers" {
  description = "Name servers of the nodes; empty takes those of the cloud."
  type        = list(string)
  default     = []
}
