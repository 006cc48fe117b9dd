# A configuration without a cloud: what the runner must do right can all be seen on it.

terraform {
  required_version = ">= 1.6"
  backend "local" {}
}

variable "words" {
  type    = map(string)
  default = { a = "one", b = "two" }
}

variable "broken" {
  type    = bool
  default = false
}

variable "gate" {
  description = "File that the slow resource makes when it begins; it ends when the file <gate>.open is there. Empty for none."
  type        = string
  default     = ""
}

resource "terraform_data" "word" {
  for_each = var.words
  input    = each.value
}

resource "terraform_data" "guarded" {
  input = "guard"
  provisioner "local-exec" {
    command = var.broken ? "echo 'The guard says no' >&2; false" : "true"
  }
  depends_on = [terraform_data.word]
}

resource "terraform_data" "slow" {
  for_each = toset(var.gate == "" ? [] : [var.gate])
  provisioner "local-exec" {
    command = "touch '${each.value}'; until [ -e '${each.value}.open' ]; do sleep 0.05; done"
  }
}

output "words" {
  value = { for key, word in terraform_data.word : key => word.output }
}
