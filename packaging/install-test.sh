#!/bin/bash
# Installs a Debian package of berth into a fresh root, starts the server there as its user, removes and
# purges it. Needs root, mmdebstrap and a mirror of Debian; where no root can be made it ends with 77.
#
#	packaging/install-test.sh dist/berth_*_amd64.deb [SUITE]
set -euo pipefail

package=$(realpath "$1")
suite=${2:-bookworm}
root=$(mktemp -d)
server=
end() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	rm -rf "$root"
}
trap end EXIT

fail() {
	echo "install-test: $*" >&2
	exit 1
}

impossible() {
	echo "install-test: no fresh root can be made here" >&2
	exit 77
}
mmdebstrap --quiet --variant=essential --include=adduser,init-system-helpers "$suite" "$root/system.tar" || impossible
mkdir "$root/system"
tar -xf "$root/system.tar" -C "$root/system" --exclude='./dev/*'
rm "$root/system.tar"
mknod -m 666 "$root/system/dev/null" c 1 3 && mknod -m 666 "$root/system/dev/urandom" c 1 9 || impossible
inside() { chroot "$root/system" "$@"; }

dpkg --root="$root/system" -i "$package" >/dev/null
inside dpkg -V berth || fail "files differ from the package's"
[ "$(inside stat -c '%U:%G %a' /etc/berth/berth.yaml)" = "root:berth 640" ] || fail "owner of berth.yaml"
[ "$(inside stat -c '%U:%G %a' /var/backups/berth)" = "berth:berth 700" ] || fail "owner of /var/backups/berth"
[ -L "$root/system/etc/systemd/system/multi-user.target.wants/berth.service" ] || fail "the service is not enabled"
[ -s "$root/system/usr/share/man/man1/berth.1.gz" ] || fail "no manual page"
inside berth version
! command -v systemd-analyze >/dev/null || systemd-analyze security --offline=true --root="$root/system" --threshold=25 berth.service | tail -n 1

# What systemd does: the folder, the user, the configuration.
inside install -d -m 0700 -o berth -g berth /var/lib/berth
user=$(inside id -u berth):$(inside id -g berth)
chroot --userspec="$user" "$root/system" env BERTH_MQTT=127.0.0.1:0 BERTH_HTTPS=127.0.0.1:0 BERTH_HTTP=127.0.0.1:0 BERTH_LOG_LEVEL=error \
	/usr/bin/berth serve --config /etc/berth/berth.yaml >/dev/null &
server=$!
for _ in $(seq 100); do
	! chroot --userspec="$user" "$root/system" /usr/bin/berth health --data /var/lib/berth >/dev/null 2>&1 || break
	sleep 0.2
done
chroot --userspec="$user" "$root/system" /usr/bin/berth health --data /var/lib/berth
chroot --userspec="$user" "$root/system" /usr/bin/berth backup --data /var/lib/berth --out /var/backups/berth/b.tar.gz >/dev/null
kill "$server"
wait "$server" || fail "the server ended with an error"
server=

dpkg --root="$root/system" -r berth >/dev/null
[ ! -e "$root/system/usr/bin/berth" ] || fail "the program is still there"
[ -e "$root/system/etc/berth/berth.yaml" ] || fail "the configuration is gone"
dpkg --root="$root/system" -P berth
[ ! -e "$root/system/etc/berth/berth.yaml" ] || fail "the configuration is still there"
[ ! -L "$root/system/etc/systemd/system/multi-user.target.wants/berth.service" ] || fail "the service is still enabled"
[ -e "$root/system/var/lib/berth/ca.key" ] || fail "the certificate authority is gone"
echo "installed, started, backed up, removed and purged"
