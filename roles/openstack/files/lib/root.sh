#!/bin/bash
# root.sh FOLDER PACKAGES PYTHON: a root file system of Debian 12 for instances, whole or not at all.
# PYTHON: a virtual environment of this node that instances have as well.
set -euo pipefail
exec 9>"$1.lock" # an earlier run of the role may have been interrupted, and left this program at work
flock 9
[ ! -e "$1" ] || exit 0
rm -rf "$1.part"
mmdebstrap --quiet --variant=minbase --mode=root --format=directory --include="$2" \
  --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$1.part"
mkdir -p "$1.part${3%/*}"
cp -a "$3" "$1.part$3"
cd "$1.part"
rm -rf etc/ssh/ssh_host_* var/lib/apt/lists/*
mkdir -p usr/share/man/man1 usr/share/man/man5 usr/share/man/man7 usr/share/man/man8 var/lib/apt/periodic
# Files left by the build would look fresh to whoever asks for the age of the package lists.
touch -d 2000-01-01 var/lib/apt/periodic/update-success-stamp
printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' > etc/apt/apt.conf.d/90xdc-testbed
# The network is there before the instance is; its data is where a configuration drive would be.
printf 'datasource_list: [ConfigDrive, None]\nnetwork: {config: disabled}\nssh_genkeytypes: [ed25519]\nlocale: false\n' > etc/cloud/cloud.cfg.d/90_xdc-testbed.cfg
ln -sf /dev/null etc/systemd/system/systemd-networkd-wait-online.service
ln -sf /dev/null etc/systemd/system/systemd-udevd.service
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
  ln -sf /dev/null "etc/systemd/system/$unit"
done
cd /
mv "$1.part" "$1"
