# The state is a file in the testbed's own folder; the kit gives its path to `init`, this folder stays unchanged.
terraform {
  backend "local" {}
}
