# Sourced by the commands that put the differential harness to the test.
# POSIX sh.
#
#   every_condition   sets NGX_EVENT_PIPE_COMPILER to a tree with all of nginx's
#                     build conditions, so that no code of the pipe is left out

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
