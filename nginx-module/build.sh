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

set -eu

archive=$1
shift

objs=$(dirname "$archive")
root=$(cd "$(dirname "$0")/.." && pwd)

mkdir -p "$objs"
objs=$(cd "$objs" && pwd)

printf '%s\n' "$PWD" "$@" > "$objs/compiler.new"

# An unchanged file keeps its time, and cargo its result.
if cmp -s "$objs/compiler.new" "$objs/compiler.txt"; then
    rm "$objs/compiler.new"
else
    mv "$objs/compiler.new" "$objs/compiler.txt"
fi

target=${CARGO_TARGET_DIR:-$objs/target}
triple=${NGX_RUST_TARGET:-}

NGX_EVENT_PIPE_COMPILER=$objs/compiler.txt \
${NGX_CARGO:-cargo} rustc --manifest-path "$root/Cargo.toml" --locked \
    --package ngx-event-pipe --lib --crate-type staticlib --release \
    --target-dir "$target" ${triple:+--target "$triple"}

# Other trees may share the target folder, so the result is taken away at once.
cp "$target/${triple:+$triple/}release/libngx_event_pipe.a" "$archive"
