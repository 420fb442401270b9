#!/bin/sh
# Installs Lineside from this folder, without a network.
#
#   ./install.sh                     into /opt/lineside-VERSION, with /opt/lineside as a link to it (as root)
#   ./install.sh --prefix FOLDER     into FOLDER, and nothing else: no link, no user, no units
#
# An upgrade is the same command of a newer bundle; the folder of the older version stays, to roll back to.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(cat "$here/VERSION")
prefix='' python=${PYTHON:-python3}
fail() {
  echo "install.sh: $1" >&2
  exit "${2:-1}"
}
while [ $# -gt 0 ]; do
  case $1 in
  --prefix)
    [ $# -ge 2 ] || fail "--prefix needs a folder" 2
    prefix=$2
    shift 2
    ;;
  --help | -h)
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  *) fail "unknown argument $1; see ./install.sh --help" 2 ;;
  esac
done

command -v "$python" >/dev/null || fail "$python is not installed; install Python 3.11 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" -V) is too old; install Python 3.11 or newer, or set PYTHON"
tag=$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
grep -qx "$tag $(uname -m)" "$here/TARGETS" ||
  fail "this bundle has no packages for $tag on $(uname -m), only for: $(tr '\n' ',' <"$here/TARGETS" | sed 's/,$//; s/,/, /g')"
(cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) || fail "this bundle is damaged; copy it again"

system=no
if [ -z "$prefix" ]; then
  [ "$(id -u)" -eq 0 ] || fail "run it as root, or name a folder of yours with --prefix"
  [ ! -e /opt/lineside ] || [ -L /opt/lineside ] ||
    fail "/opt/lineside is not a link: remove the package lineside first, which keeps configuration and spool"
  prefix=/opt/lineside-$version system=yes
fi
[ ! -e "$prefix" ] || fail "$prefix exists; remove it first to install this version again"

umask 022
# a half-made environment must not stay
trap '[ -e "$prefix/bin/lineside" ] || rm -rf "$prefix"' EXIT
"$python" -m venv --without-pip "$prefix"
"$prefix/bin/python" "$(echo "$here"/pip-*.whl)/pip" install --quiet --disable-pip-version-check --no-input --no-index \
  --find-links "$here/wheels" --require-hashes --requirement "$here/requirements.txt"
echo "lineside $version is in $prefix"
[ "$system" = yes ] || exit 0

install -D -m 0644 "$here/systemd/lineside.sysusers" /etc/sysusers.d/lineside.conf
install -D -m 0644 "$here/systemd/lineside.tmpfiles" /etc/tmpfiles.d/lineside.conf
install -m 0644 "$here"/systemd/*.service /etc/systemd/system/
ln -sfn "$prefix" /opt/lineside
ln -sfn /opt/lineside/bin/lineside /usr/local/bin/lineside
systemd-sysusers lineside.conf
systemd-tmpfiles --create lineside.conf
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart 'lineside-gateway@*.service' 'lineside-ingest@*.service' 'lineside-dashboard@*.service'
fi
echo "/opt/lineside is version $version; start a gateway with: systemctl enable --now lineside-gateway@NAME"
