#!/bin/sh
# Installs Lineside from this folder, without a network.
#
#   ./install.sh                     into /opt/lineside-VERSION, with /opt/lineside as a link to it (as root)
#   ./install.sh --prefix FOLDER     into FOLDER, and nothing else: no link, no user, no units
#   ./install.sh --key FILE          with the release key in FILE, in place of /etc/lineside/release.pub
#   ./install.sh --unsigned          although nobody vouches for this bundle
#   ./install.sh --downgrade         although a newer version is installed
#
# An upgrade is the same command of a newer bundle, or lineside-update of the installed version, which checks the bundle
# before anything of it runs. The folder of the older version stays, to roll back to.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(cat "$here/VERSION")
prefix='' python=${PYTHON:-python3} key='' unsigned=no downgrade=no
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
  --key)
    [ $# -ge 2 ] || fail "--key needs a file" 2
    key=$2
    shift 2
    ;;
  --unsigned)
    unsigned=yes
    shift
    ;;
  --downgrade)
    downgrade=yes
    shift
    ;;
  --help | -h)
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  *) fail "unknown argument $1; see ./install.sh --help" 2 ;;
  esac
done

# Returns 0 if one of the keys in $1 has signed the checksums of this bundle.
signed_with() {
  parts=$(mktemp -d)
  awk -v folder="$parts" '/-----BEGIN PUBLIC KEY-----/ { n++ } n { print >(folder "/" n ".pem") }' "$1"
  found=1
  for one in "$parts"/*.pem; do
    if openssl pkeyutl -verify -rawin -pubin -inkey "$one" -in "$here/SHA256SUMS" -sigfile "$here/SHA256SUMS.sig" \
      >/dev/null 2>&1; then
      found=0
    fi
  done
  rm -rf "$parts"
  return $found
}

accept="to install it although nobody vouches for it, add --unsigned"
if [ -z "$key" ] && [ -e /etc/lineside/release.pub ]; then
  key=/etc/lineside/release.pub
fi
if [ "$unsigned" = no ] && [ -n "$key" ]; then
  [ -r "$key" ] || fail "$key can't be read; name the file with the release key"
  [ -e "$here/SHA256SUMS.sig" ] || fail "this bundle is not signed, and $key has a release key; $accept"
  command -v openssl >/dev/null || fail "openssl is not installed, which checks the signature; install it first"
  signed_with "$key" || fail "this bundle is not signed with a release key of $key; don't use it"
elif [ "$unsigned" = no ] && grep -qs '^release_keys:' /etc/lineside/policy.yaml; then
  fail "the release keys are in /etc/lineside/policy.yaml, which lineside-update reads; $accept"
fi

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
  if [ -L /opt/lineside ] && [ "$downgrade" = no ]; then
    present=$(basename "$(readlink -f /opt/lineside)") present=${present#lineside-}
    newest=$(printf '%s\n' "$version" "$present" | sort -V | tail -n 1)
    [ "$newest" = "$version" ] || fail "version $present is installed, which is newer than $version; add --downgrade"
  fi
  prefix=/opt/lineside-$version system=yes
fi
[ ! -e "$prefix" ] || fail "$prefix exists; remove it first to install this version again"

umask 022
# a half-made environment must not stay
trap '[ -e "$prefix/SHA256SUMS" ] || rm -rf "$prefix"' EXIT
"$python" -m venv --without-pip "$prefix"
"$prefix/bin/python" "$(echo "$here"/pip-*.whl)/pip" install --quiet --disable-pip-version-check --no-input --no-index \
  --find-links "$here/wheels" --require-hashes --requirement "$here/requirements.txt"
# of the commands, lineside alone: as it was built, and not as pip makes it
find "$prefix/bin" -type f ! -name 'activate*' ! -name 'Activate.ps1' -delete
install -m 0755 "$here/lineside" "$prefix/bin/lineside"
install -m 0644 "$here/manifests/$tag-$(uname -m)"/SHA256SUMS* "$prefix/"
echo "lineside $version is in $prefix"
[ "$system" = yes ] || exit 0

install -D -m 0644 "$here/systemd/lineside.sysusers" /etc/sysusers.d/lineside.conf
install -D -m 0644 "$here/systemd/lineside.tmpfiles" /etc/tmpfiles.d/lineside.conf
install -m 0644 "$here"/systemd/*.service /etc/systemd/system/
ln -sfn "$prefix" /opt/lineside
ln -sfn /opt/lineside/bin/lineside /usr/local/bin/lineside
install -D -m 0755 "$here/lineside-update" /usr/local/sbin/lineside-update
systemd-sysusers lineside.conf
systemd-tmpfiles --create lineside.conf
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart 'lineside-gateway@*.service' 'lineside-ingest@*.service' 'lineside-dashboard@*.service'
fi
echo "/opt/lineside is version $version; start a gateway with: systemctl enable --now lineside-gateway@NAME"
