#!/bin/sh
# Makes stand-ins for base images out of this machine's own programs, as no registry can be reached where the
# tests run:  standins.sh NAME FOLDER  makes NAME/rust, NAME/debian, NAME/redis and NAME/prometheus.
#
# Each has its programs with their libraries and nothing else. The `cargo` of NAME/rust looks whether the
# workspace is there and then puts the programs of FOLDER where a build would: a real one takes longer than
# all tests together. All images, and what is built from them, bear the label causeway.test=NAME.
set -eu
name=$1
built=$2
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# Copies programs, with the libraries they need, into an image's folder.
add() {
    into=$stage/$1
    shift
    mkdir -p "$into/tmp" "$into/etc"
    chmod 1777 "$into/tmp"
    printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$into/etc/passwd"
    for program in "$@"; do
        cp -L --parents "$program" "$into"
        # One that is linked statically has none.
        for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
            cp -L --parents "$library" "$into"
        done
    done
}

# Where a program is on this machine.
at() {
    for program in "$@"; do
        command -v "$program"
    done
}

import() {
    image=$1
    shift
    tar -C "$stage/$image" -c . | docker import --change "LABEL causeway.test=$name" "$@" - "$name/$image" >/dev/null
}

PATH=$PATH:/usr/sbin:/sbin
shell="/bin/sh $(at mkdir chown chmod cp mv od tr cat ls)"

# shellcheck disable=SC2086
add debian $shell "$built"/causeway-broker
rm -f "$stage/debian/$built"/causeway-*
import debian

# shellcheck disable=SC2086
add rust $shell
mkdir -p "$stage/rust/prebuilt" "$stage/rust/usr/local/bin"
cp "$built"/causeway-broker "$built"/causeway-bridge "$built"/causeway-certs "$stage/rust/prebuilt"
cat >"$stage/rust/usr/local/bin/cargo" <<'CARGO'
#!/bin/sh
set -eu
[ "$1" = build ] || { echo "this is no cargo"; exit 1; }
ls Cargo.toml Cargo.lock */Cargo.toml */*/Cargo.toml */src
[ ! -e target ] && [ ! -e .git ] || { echo "the context holds what was built"; exit 1; }
mkdir -p target/release
cp /prebuilt/* target/release
CARGO
chmod 755 "$stage/rust/usr/local/bin/cargo"
import rust

# shellcheck disable=SC2046
add redis /bin/sh $(at redis-server redis-cli)
import redis

# shellcheck disable=SC2046
add prometheus /bin/sh $(at prometheus)
mkdir -p "$stage/prometheus/prometheus"
chown 65534:65534 "$stage/prometheus/prometheus" 2>/dev/null || chmod 1777 "$stage/prometheus/prometheus"
import prometheus --change 'USER nobody' --change "ENTRYPOINT [\"$(at prometheus)\", \
\"--config.file=/etc/prometheus/prometheus.yml\", \"--storage.tsdb.path=/prometheus\"]"
