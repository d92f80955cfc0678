#!/bin/sh
# Makes what the services need to trust each other: certificates for the names given, and the secret of the
# links. What is there already stays. Runs as root, so that the keys of the authorities are root's alone.
set -eu
cd /keys
# For a password file: what root begins there belongs to whom the folder belongs, and so to the services.
mkdir -p users
chown 1883:1883 users
chmod 700 users
if [ -e secret.toml ]; then
    exit 0
fi
names=""
for name in "$@"; do
    names="$names --name $name"
done
# Names of hosts need no quotes.
# shellcheck disable=SC2086
causeway-certs --out /keys $names
secret=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
(umask 077 && printf '[link]\nsecret = "%s"\n' "$secret" >secret.part)
chown 1883:1883 server.key link.key secret.part
# The last step: what was interrupted before is made anew.
mv secret.part secret.toml
