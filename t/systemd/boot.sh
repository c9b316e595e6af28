#!/bin/bash
#
# boot.sh DIR: starts the systemd of a folder with Debian in it, as process 1 of
# namespaces of its own: mounts, processes, network, control groups. It sees
# nothing of the machine's, and all of it ends with it. Run by t/systemd.t, below
# "unshare".

set -euo pipefail

cd "$1"
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev

for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"
done

mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

ip link set lo up

mkdir -p old
pivot_root . old
cd /
umount -l /old

# what a manager of containers has to do, or credentials are mounted where the
# service cannot see them
mount --make-rshared /

exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --log-target=null
