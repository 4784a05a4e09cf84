# Sourced by the commands that put the differential harness to the test.
# POSIX sh.
#
#   LOGIC             the files that decide what the pipe does: those without unsafe code
#   need_nginx        what nginx and the harness are built with
#   every_condition   sets NGX_EVENT_PIPE_COMPILER to a tree with all of nginx's
#                     build conditions, so that no code of the pipe is left out
#   source_at FILE LINE COLUMN
#                     the text of a line from there on
#   explained FILE    checks the lines of its standard input against a list of
#                     exceptions

LOGIC=$(grep -l 'forbid(unsafe_code)' src/*.rs src/extensions/*.rs)

need_nginx() {
    need gcc make libc6-dev libclang-dev libpcre2-dev libssl-dev pkg-config zlib1g-dev
}

every_condition() {
    harness_nginx=$(cargo run --quiet --package pipe-tests --bin nginx)
    NGX_EVENT_PIPE_COMPILER=${harness_nginx%/*}/ngx_event_pipe_rust/every-condition.txt
    export NGX_EVENT_PIPE_COMPILER

    # Debug, threads and TLS it has. Where the file is there it stays as it is,
    # or cargo would build all anew.
    [ -e "$NGX_EVENT_PIPE_COMPILER" ] || {
        cat "${harness_nginx%/*}/ngx_event_pipe_rust/compiler.txt"
        printf '%s\n' -include "$PWD/tests/differential/kqueue.h"
    } >"$NGX_EVENT_PIPE_COMPILER"
}

source_at() {
    sed -n "$2p" "$1" | cut -c "$3-" | sed 's/^ *//'
}

# In the list, an exception is a line as it is found, and its reason the
# indented lines below it. Prints what is found and not listed, what is listed
# and not found, and what is listed without a reason: nothing if all is well.
explained() {
    LC_ALL=C sort -u | awk -v list="$1" '
        FILENAME == list {
            if (/^#/ || /^$/) next
            if (/^ /) { if (entry != "") reason[entry] = 1; next }
            entry = $0
            listed[entry] = 1
            next
        }
        { found[$0] = 1 }
        END {
            for (line in found) if (!(line in listed)) complain("not explained", line)
            for (line in listed) {
                if (!(line in found)) complain("explained in vain", line)
                if (!(line in reason)) complain("no reason", line)
            }
        }
        function complain(what, line) { print what ": " line }
    ' "$1" - | LC_ALL=C sort
}
