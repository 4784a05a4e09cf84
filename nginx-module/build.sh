#!/bin/sh
#
# Builds the Rust library for the nginx tree in the current directory.
#
#   build.sh ARCHIVE COMMAND...
#
# ARCHIVE is the static library to make, COMMAND the words with which nginx's
# make runs the C compiler. They are left beside the archive in compiler.txt,
# the tree's root first and then a word a line: build.rs reads nginx's headers
# with the same flags, and so can a developer who sets NGX_EVENT_PIPE_COMPILER
# to that file and runs cargo.
#
# Where cargo leaves the library depends on settings, and other trees may share
# that place. So the library carries a stamp of what it was made of, and is not
# taken for this tree's without it.

set -eu

archive=$1; shift

cargo=${NGX_CARGO:-cargo}
# A toolchain's cargo goes with the rustc beside it.
case "$cargo" in
    *" "*) ;;
    /*) PATH=$(dirname "$cargo"):$PATH ;;
esac
objs=$(dirname "$archive")
root=$(cd "$(dirname "$0")/.." && pwd)

mkdir -p "$objs"
objs=$(cd "$objs" && pwd)

fail () {
    echo "ngx-event-pipe: $1" >&2
    exit 1
}

# Whatever is not made anew must not be linked.
rm -f "$archive"

printf '%s\n' "$PWD" "$@" > "$objs/compiler.new"

# An unchanged file keeps its time, and cargo its result.
cmp -s "$objs/compiler.new" "$objs/compiler.txt" \
    || cp "$objs/compiler.new" "$objs/compiler.txt"
rm "$objs/compiler.new"

said=$($cargo -vV 2>&1) || fail "$cargo does not run; it said:
$said"

# The name overrides that of the environment and of cargo's configuration.
triple=${NGX_RUST_TARGET:-$(printf '%s\n' "$said" | sed -n 's/^host: //p')}
[ -n "$triple" ] || fail "$cargo -vV names no host: set NGX_RUST_TARGET"

# Settings that would take away what the library relies on: those of a profile
# are the manifest's, and what rustc is told behind cargo's back is refused.
for variable in $(env | sed -n 's/^\(CARGO_PROFILE_[A-Z0-9_]*\)=.*/\1/p'); do
    unset "$variable"
done

flags=$(printf '%s' "${CARGO_ENCODED_RUSTFLAGS-${RUSTFLAGS-}}" | tr '\037' ' ')
case "$flags" in
    *panic=unwind* | *panic-strategy=unwind*)
        fail "RUSTFLAGS asks for panic=unwind, but nothing unwinds in nginx: \
take it away" ;;
esac

target=${CARGO_TARGET_DIR:-$objs/target}
platform=$(basename "$triple" .json)
library=$target/$platform/release/libngx_event_pipe.a

# A path as sed's pattern.
pattern () {
    printf '%s' "$1" | sed 's/[][\.*^$|]/\\&/g'
}

# All that makes one library another: the compiler's words, what configure has
# found, nginx's headers, and this project's sources. Where the tree and this
# project are is no part of it, so that the same gives the same everywhere.
contents () {
    printf '%s\n' "$triple" "$@" \
        | sed "/^-f[a-z]*-prefix-map=/d
               s|$(pattern "$root")|PROJECT|g; s|$(pattern "$PWD")|TREE|g"
    printf '%s\n' "$flags" | sed 's/--remap-path-prefix[= ][^ ]*//g'
    grep -v '^#define NGX_CONFIGURE ' "$objs/../ngx_auto_config.h"
    cat "$objs/../ngx_auto_headers.h"
    find src -name '*.h' | LC_ALL=C sort | xargs cat
    cd "$root"
    cat Cargo.toml Cargo.lock build.rs \
        nginx-module/bindings.h nginx-module/ngx_event_pipe_glue.h
    find src -name '*.rs' -o -name '*.html' | LC_ALL=C sort | xargs cat
}

stamp=$(contents "$@" | cksum | tr -s ' ' _)

# cargo runs in nginx's tree, and does not look for this file of the checkout.
config=$root/.cargo/config.toml
[ -f "$config" ] || config=

build () {
    # What the library relies on: no library beside it sees its internals, and
    # nothing unwinds. Incremental objects cannot be optimized as one.
    NGX_EVENT_PIPE_COMPILER=$objs/compiler.txt \
    NGX_EVENT_PIPE_STAMP=$stamp \
    CARGO_INCREMENTAL=0 \
    $cargo rustc --manifest-path "$root/Cargo.toml" --locked \
        ${config:+--config "$config"} \
        --config 'profile.release.panic="abort"' \
        --config 'profile.release.lto="fat"' \
        --config profile.release.codegen-units=1 \
        --config profile.release.opt-level=3 \
        --config profile.release.overflow-checks=false \
        --config profile.release.debug-assertions=false \
        --package ngx-event-pipe --lib --crate-type staticlib --release \
        --target-dir "$target" --target "$triple" \
        -- --remap-path-prefix "$root=ngx-event-pipe" \
        --remap-path-prefix "$target=target"
}

# Takes the library away, if it is this tree's.
take () {
    cp "$library" "$archive.new" \
        && LC_ALL=C grep -q "ngx_event_pipe_stamp_$stamp" "$archive.new" \
        && mv "$archive.new" "$archive"
}

# The second time, if another tree's build came in between.
for turn in first second; do
    build
    if take; then
        exit 0
    fi
done

rm -f "$archive.new"
fail "$library is not made from this tree: build trees that share a target \
folder one after the other, or set CARGO_TARGET_DIR to a new folder"
