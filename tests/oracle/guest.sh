#!/bin/sh
# Makes a Linux guest from the distribution's own packages: tests/oracle/guest.sh FOLDER PLAYER
# It needs neither root nor the system's package lists: kernel and tools are downloaded into
# FOLDER, unpacked there, and become FOLDER/vmlinuz and, with the program PLAYER that the guest
# runs, FOLDER/initrd. What is there is kept, but for the player.
set -eu

folder=${1:?FOLDER} player=$(realpath "${2:?PLAYER}")
arch=amd64
release=${DM_GUEST_RELEASE:-bookworm}
tools='bash busybox-static kmod mount util-linux dmsetup cryptsetup-bin thin-provisioning-tools'
# The folders of the kernel's modules that dm and its tests use.
modules='crypto lib arch/x86/crypto drivers/md drivers/block drivers/virtio drivers/dax
	drivers/crypto drivers/cdrom'

mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/deb"
cd "$folder"

mirror() {
	# shellcheck disable=SC2016 # apt's own notation
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		grep -v -e security -e updates | head -n 1
}

# apt with lists and a cache of its own, for which no package is installed.
own() {
	command=$1
	shift
	"$command" -q -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache" \
		-o Dir::State::status="$folder/status" -o Dir::Etc::SourceList="$folder/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o APT::Architecture=$arch \
		-o APT::Install-Recommends=false -o APT::Sandbox::User=root "$@"
}

# The newest packaged kernel: that of backports where it is to be had, else the release's own.
kernel_package() {
	for suite in "$release-backports" "$release"; do
		own apt-cache -t "$suite" depends linux-image-$arch 2>/dev/null |
			sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | grep . | head -n 1 && return
	done
}

download() {
	: >status
	for suite in "$release" "$release-backports"; do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main"
	done >sources.list
	own apt-get update >update.log 2>&1 || cat update.log
	# shellcheck disable=SC2086 # lists of words
	own apt-get --simulate install $tools | sed -n 's/^Inst \([^ ]*\).*/\1/p' >packages
	kernel_package >>packages
	# shellcheck disable=SC2046 # a list of words
	(cd deb && own apt-get download $(cat ../packages)) >download.log
	touch downloaded
}

unpack() {
	rm -rf root kernel
	mkdir -p root kernel
	for deb in deb/*.deb; do
		case $deb in
		deb/linux-image-*) dpkg-deb -x "$deb" kernel ;;
		*) dpkg-deb -x "$deb" root ;;
		esac
	done
	rm -rf root/usr/share/doc root/usr/share/man root/usr/share/locale root/usr/share/info
	version=$(basename kernel/boot/vmlinuz-*)
	version=${version#vmlinuz-}
	tree=kernel/lib/modules/$version
	[ -d "$tree" ] || tree=kernel/usr/lib/modules/$version
	to=root/lib/modules/$version
	mkdir -p "$to/kernel"
	for module in $modules; do
		[ ! -d "$tree/kernel/$module" ] || {
			mkdir -p "$to/kernel/$module"
			cp -r "$tree/kernel/$module/." "$to/kernel/$module"
		}
	done
	# What multipath depends on, without the adapters.
	mkdir -p "$to/kernel/drivers/scsi"
	cp "$tree"/kernel/drivers/scsi/scsi_*.ko* "$to/kernel/drivers/scsi"
	cp "$tree/modules.order" "$tree"/modules.builtin* "$to"
	depmod -b root "$version"
	cp "kernel/boot/vmlinuz-$version" vmlinuz
	rm -rf kernel
}

# The first process: it plays the cases of the exchange disk, and ends the machine.
first_process() {
	cat <<'INIT'
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/busybox LC_ALL=C DM_DISABLE_UDEV=1
/bin/busybox mkdir -p /busybox
/bin/busybox --install -s /busybox
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /run/lock /run/cryptsetup /tmp
modprobe -aq virtio_pci virtio_blk loop dm_mod aesni_intel xts cbc ecb essiv
modprobe -aq $(cd /lib/modules/*/kernel/drivers/md && ls | sed -n 's/^\(dm-[a-z-]*\)\.ko.*/\1/p')
modprobe -aq raid0 raid1 raid10 raid456
modprobe -aq dm-round-robin dm-queue-length dm-service-time adiantum lrw serpent_generic twofish_generic camellia_generic hctr2 nhpoly1305
dm-play /dev/vda </dev/null >/dev/ttyS1
sync
echo o >/proc/sysrq-trigger
sleep 5
INIT
}

pack() {
	mkdir -p root/proc root/sys root/dev root/run root/tmp
	ln -sf bash root/bin/sh
	first_process >root/init
	chmod +x root/init
	(cd root && find . | cpio -o -H newc -R 0:0 --quiet) >initrd.base
	touch ready
}

[ -e downloaded ] || download
[ -e ready ] || { unpack && pack; }
# A kernel takes several archives one behind the other.
rm -rf player && mkdir -p player/usr/bin
cp "$player" player/usr/bin/dm-play
(cd player && find . | cpio -o -H newc -R 0:0 --quiet) | cat initrd.base - >initrd
