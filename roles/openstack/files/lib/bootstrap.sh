#!/bin/sh
# bootstrap.sh MARK: make the administrator, as the environment OS_BOOTSTRAP_* says, then the mark.
set -eu
cd /
runuser -u keystone -- /usr/bin/keystone-manage bootstrap
touch "$1"
