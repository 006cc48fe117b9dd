variable "owner" {
  description = "Prefix of names, description and tags of everything of this testbed (from the layout)."
  type        = object({ prefix = string, description = string, tags = list(string) })
}

variable "groups" {
  description = "Security groups by service (from the layout); `all` is among them."
  type        = map(object({ name = string, members = list(string) }))
}

variable "rules" {
  description = "Rules of the groups (from the layout); cidr null means: from the nodes of this testbed."
  type        = map(object({ group = string, protocol = string, first = number, last = number, cidr = string }))
}
