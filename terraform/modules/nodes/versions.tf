terraform {
  required_version = ">= 1.6"
  required_providers {
    openstack = {
      # The host is written out, so that OpenTofu takes the same provider from the same mirror.
      source  = "registry.terraform.io/terraform-provider-openstack/openstack"
      version = "~> 3.4"
    }
  }
}
