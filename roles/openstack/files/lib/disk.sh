#!/bin/bash
# disk.sh ROOT FOLDER [PACKAGE...]: a disk for virtual machines, whole or not at all: the root file system of containers, a
# kernel, more packages, and package lists as old as the disk, read already.
set -euo pipefail
exec 9>"$2.lock" # an earlier run of the role may have been interrupted, and left this program at work
flock 9
[ ! -e "$2" ] || exit 0
rm -rf "$2.part"
mkdir -p "$2.part"
root=$2.part/root
cp -a "$1" "$root"
cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
: > "$root/etc/machine-id"
# Nothing but what leads to the disk: it is unpacked by the machine at each start.
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
printf 'MODULES=list\nCOMPRESS=lz4\n' > "$root/etc/initramfs-tools/conf.d/xdc-testbed"
printf '%s\n' virtio_pci virtio_blk ext4 crc32c_generic > "$root/usr/share/initramfs-tools/modules.d/xdc-testbed"
unshare --mount --kill-child --fork bash -euc '
  mount -t proc proc "$0/proc"
  mount --rbind /dev "$0/dev"
  export DEBIAN_FRONTEND=noninteractive
  chroot "$0" apt-get -q update
  chroot "$0" apt-get -qy -o Dpkg::Options::=--force-unsafe-io install lz4 initramfs-tools linux-image-cloud-amd64 "$@"
  chroot "$0" apt-get clean
  chroot "$0" apt-cache gencaches
  touch "$0/var/lib/apt/periodic/update-success-stamp"' "$root" "${@:3}"
# What a container has from its node, a machine does itself.
printf 'datasource_list: [ConfigDrive, None]\nssh_genkeytypes: [ed25519]\nlocale: false\n' > "$root/etc/cloud/cloud.cfg.d/90_xdc-testbed.cfg"
rm -f "$root/etc/systemd/system/systemd-udevd.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s /lib/systemd/system/systemd-networkd.service "$root/etc/systemd/system/multi-user.target.wants/"
mv "$root"/boot/vmlinuz-* "$2.part/vmlinuz"
mv "$root"/boot/initrd.img-* "$2.part/initrd"
mke2fs -q -t ext4 -d "$root" "$2.part/disk" 3G
rm -rf "$root"
mv "$2.part" "$2"
